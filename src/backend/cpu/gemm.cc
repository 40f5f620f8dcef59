#include "backend/cpu/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/gemm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// after foreach_target.h
#include "backend/cpu/gemm-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::cpu {
namespace HWY_NAMESPACE {

// A block of A [kBlockRows, kBlockK] (128 KiB) stays in L2, a panel of B [kBlockK, 16] (16 KiB as f32) in L1.
constexpr int64_t kBlockRows = 120;  // a multiple of both tile heights
constexpr int64_t kBlockK = 256;
// From this many rows on, packing A and widening B pay for themselves.
constexpr int64_t kPackRows = 2 * kTileRows;

// Where a partial last panel of C is computed before its valid columns are copied: the micro kernel writes whole
// panels.
struct Edge {
  HWY_ALIGN float tile[kBlockRows * 16];

  void Load(const float* c, int64_t c_row, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(tile + r * 16, c + r * c_row, columns * sizeof(float));
  }
  void Store(float* c, int64_t c_row, int64_t rows, int64_t columns) const {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(c + r * c_row, tile + r * 16, columns * sizeof(float));
  }
};

// Few rows (decode): straight from the panels, several at a time so that enough sums are in flight to hide the latency
// of a multiply-add and to keep several memory streams open.
template <int ROWS, int PANELS, typename T>
void FewRows(const GemmShape& shape, const GemmA& a, const T* b, int64_t b_k, int64_t b_panel, const GemmC& c,
             bool accumulate) {
  int64_t n = 0;
  for (; n + 16 * PANELS <= shape.n; n += 16 * PANELS) {
    Micro<ROWS, PANELS>(shape.k, a.data, a.row_stride, a.k_stride, b + n / 16 * b_panel, b_k, b_panel, c.data + n,
                        c.row_stride, accumulate);
  }
  for (; n < shape.n; n += 16) {
    const int64_t columns = std::min<int64_t>(16, shape.n - n);
    Edge edge;
    if (accumulate) edge.Load(c.data + n, c.row_stride, ROWS, columns);
    Micro<ROWS, 1>(shape.k, a.data, a.row_stride, a.k_stride, b + n / 16 * b_panel, b_k, b_panel, edge.tile, 16,
                   accumulate);
    edge.Store(c.data + n, c.row_stride, ROWS, columns);
  }
}

// A block of A as tiles of kTileRows rows: tile t holds [k][kTileRows], so the micro kernel reads it in sequence.
void PackA(const GemmA& a, int64_t first_row, int64_t rows, int64_t first_k, int64_t k, float* packed) {
  for (int64_t t = 0; t < rows; t += kTileRows) {
    const int64_t height = std::min<int64_t>(kTileRows, rows - t);
    for (int64_t r = 0; r < height; ++r) {
      const float* from = a.data + (first_row + t + r) * a.row_stride + first_k * a.k_stride;
      for (int64_t i = 0; i < k; ++i) packed[i * kTileRows + r] = from[i * a.k_stride];
    }
    packed += k * kTileRows;
  }
}

template <typename T>
void WidenPanel(const T* b, int64_t b_k, int64_t k, float* HWY_RESTRICT widened) {
  const Vf d;
  for (int64_t i = 0; i < k; ++i) {
    for (int j = 0; j < kVectors; ++j) hn::Store(LoadB(d, b + i * b_k + j * kLanes), d, widened + i * 16 + j * kLanes);
  }
}

struct Scratch {
  HWY_ALIGN float a[kBlockRows * kBlockK];
  HWY_ALIGN float b[kBlockK * 16];
  Edge edge;
};

template <typename T>
void ManyRows(const GemmShape& shape, const GemmA& a, const T* b, int64_t b_k, int64_t b_panel, const GemmC& c,
              bool accumulate) {
  static thread_local Scratch scratch;
  for (int64_t m = 0; m < shape.m; m += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, shape.m - m);
    for (int64_t first_k = 0; first_k < shape.k; first_k += kBlockK) {
      const int64_t k = std::min(kBlockK, shape.k - first_k);
      const bool continued = accumulate || first_k > 0;
      PackA(a, m, rows, first_k, k, scratch.a);
      for (int64_t n = 0; n < shape.n; n += 16) {
        WidenPanel(b + n / 16 * b_panel + first_k * b_k, b_k, k, scratch.b);
        const int64_t columns = std::min<int64_t>(16, shape.n - n);
        float* out = c.data + m * c.row_stride + n;
        int64_t out_row = c.row_stride;
        if (columns < 16) {
          if (continued) scratch.edge.Load(out, c.row_stride, rows, columns);
          out = scratch.edge.tile;
          out_row = 16;
        }
        for (int64_t t = 0; t < rows; t += kTileRows) {
          MicroRows(std::min<int64_t>(kTileRows, rows - t), k, scratch.a + t * k, 1, kTileRows, scratch.b, 16,
                    out + t * out_row, out_row, continued);
        }
        if (columns < 16) scratch.edge.Store(c.data + m * c.row_stride + n, c.row_stride, rows, columns);
      }
    }
  }
}

template <typename T>
void GemmOf(const GemmShape& shape, const GemmA& a, const T* b, int64_t b_k, int64_t b_panel, const GemmC& c,
            bool accumulate) {
  if (shape.k == 0) {
    for (int64_t m = 0; m < shape.m && !accumulate; ++m) std::fill_n(c.data + m * c.row_stride, shape.n, 0.0f);
    return;
  }
  if (shape.m >= kPackRows) return ManyRows(shape, a, b, b_k, b_panel, c, accumulate);
  GemmShape part = shape;
  GemmA part_a = a;
  GemmC part_c = c;
  const auto run = [&]<int ROWS, int PANELS>() {
    FewRows<ROWS, PANELS>(part, part_a, b, b_k, b_panel, part_c, accumulate);
    part.m -= ROWS;
    part_a.data += ROWS * a.row_stride;
    part_c.data += ROWS * c.row_stride;
  };
  // sums in flight: ROWS * PANELS * kVectors
  while (part.m > 0) {
    if (part.m >= 6) {
      run.template operator()<6, 1>();
    } else if (part.m >= 4) {
      run.template operator()<4, 1>();
    } else if (part.m == 3) {
      run.template operator()<3, 2>();
    } else if (part.m == 2) {
      run.template operator()<2, 2>();
    } else {
      run.template operator()<1, 4>();
    }
  }
}

void GemmTarget(const GemmShape& shape, const GemmA& a, const GemmB& b, const GemmC& c, bool accumulate) {
  if (b.dtype == DType::kBf16) {
    GemmOf(shape, a, static_cast<const hwy::bfloat16_t*>(b.data), b.k_stride, b.panel_stride, c, accumulate);
  } else {
    GemmOf(shape, a, static_cast<const float*>(b.data), b.k_stride, b.panel_stride, c, accumulate);
  }
}

const char* TargetName() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace HWY_NAMESPACE
}  // namespace tandem::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tandem::cpu {

HWY_EXPORT(GemmTarget);
HWY_EXPORT(TargetName);

void Gemm(const GemmShape& shape, const GemmA& a, const GemmB& b, const GemmC& c, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(GemmTarget)(shape, a, b, c, accumulate);
}

const char* InstructionSet() {
  return HWY_DYNAMIC_DISPATCH(TargetName)();
}

}  // namespace tandem::cpu
#endif
