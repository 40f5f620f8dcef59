// The running softmax of one warp's 16 rows (Milakov and Gimelshein 2018), in units of log 2, over results D[16, 8] of
// q k^T: thread (g, t) holds rows g and g + 8 together with the three other threads of its quad.
#pragma once

#include "tile.h"

namespace tandem::kernels {

// What the rows of a tile see of the keys from `begin` on.
struct RowMask {
  int position[2];  // of rows g and g + 8
  int window;
  __device__ __forceinline__ bool Sees(int half, int key) const {
    return key <= position[half] && (window == 0 || key > position[half] - window);
  }
};

struct OnlineSoftmax {
  float max[2] = {-kInfinity, -kInfinity};  // of ScoreScale::Raw
  float sum[2] = {0, 0};                    // this thread's share

  // Turns scores (Raw, masked with -infinity) into exp2(factor * (score - max)) and gives what earlier sums and outputs
  // are to be multiplied by: exactly 1 where the maximum stays. A row that has seen nothing has sum 0.
  template <int kTiles>
  __device__ __forceinline__ void Update(float (&s)[kTiles][4], float factor, float (&rescale)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float m = max[half];
#pragma unroll
      for (int n = 0; n < kTiles; ++n) m = fmaxf(m, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      m = WarpMax<4>(m);
      const float shift = m == -kInfinity ? 0.0f : m * factor;
      rescale[half] = m == max[half] ? 1.0f : Exp2(fmaf(max[half], factor, -shift));
      max[half] = m;
      float total = sum[half] * rescale[half];
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          s[n][i] = Exp2(fmaf(s[n][i], factor, -shift));
          total += s[n][i];
        }
      }
      sum[half] = total;
    }
  }

  // Once, at the end: sums of whole rows.
  __device__ __forceinline__ void Finish() {
    sum[0] = WarpSum<4>(sum[0]);
    sum[1] = WarpSum<4>(sum[1]);
  }
};

// Products q.k to ScoreScale::Raw.
template <int kTiles>
__device__ __forceinline__ void CapScores(float (&s)[kTiles][4], const ScoreScale& scale) {
  if (scale.soft_cap <= 0) return;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = scale.Raw(s[n][i]);
  }
}

// Scores of keys [key, key + 8 kTiles) that a row does not see to -infinity.
template <int kTiles>
__device__ __forceinline__ void MaskScores(float (&s)[kTiles][4], const RowMask& mask, int key) {
  const int column = key + threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!mask.Sees(i / 2, column + n * 8 + i % 2)) s[n][i] = -kInfinity;
    }
  }
}

template <int kTiles>
__device__ __forceinline__ void RescaleRows(float (&o)[kTiles][4], const float (&rescale)[2]) {
  if (!__any_sync(kAllLanes, rescale[0] != 1.0f || rescale[1] != 1.0f)) return;  // times 1 changes no bit
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    o[n][0] *= rescale[0];
    o[n][1] *= rescale[0];
    o[n][2] *= rescale[1];
    o[n][3] *= rescale[1];
  }
}

}  // namespace tandem::kernels
