// RoPE and the KV append on the emulated device.
#include "rope.h"

#include <cmath>

#include "attention/append.h"
#include "gtest/gtest.h"
#include "kernels/attention_problem.h"

namespace tandem::kernels {
namespace {

// Turned and turned back; row 1 belongs to nobody. Head sizes with and without whole vectors.
TEST(Rope, TurnsPairsAndTurnsThemBack) {
  for (const Type type : {Type::kF32, Type::kBf16}) {
    for (const int head_dim : {6, 16, 24, 128}) {
      const int heads = 3, half = head_dim / 2;
      const std::vector<int32_t> positions = {5, -1, 0, 7, 5};
      const std::vector<float> x = RandomRows(1, 5 * heads * head_dim, type),
                               table = RandomRows(2, 8 * head_dim, Type::kF32);
      const DeviceArray<uint8_t> device_x(ToBytes(x, type));
      const DeviceArray<float> device_table(table);
      const DeviceArray<int32_t> device_positions(positions);
      for (const bool inverse : {false, true}) {
        const std::vector<float> before = FromBytes(device_x.Read(), type);
        ASSERT_EQ(LaunchRope({.x = device_x.data(),
                              .type = type,
                              .table = device_table.data(),
                              .positions = device_positions.data(),
                              .num_rows = 5,
                              .num_heads = heads,
                              .head_dim = head_dim,
                              .inverse = inverse},
                             nullptr),
                  cudaSuccess);
        ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
        const std::vector<float> got = FromBytes(device_x.Read(), type);
        const float tolerance = type == Type::kBf16 ? 0x1p-8f : 0x1p-22f;
        for (size_t i = 0; i < got.size(); ++i) {
          const int row = static_cast<int>(i) / (heads * head_dim), d = static_cast<int>(i) % head_dim;
          if (positions[row] < 0) {
            ASSERT_EQ(got[i], x[i]);
            continue;
          }
          const float cosine = table[positions[row] * head_dim + d % half];
          const float sine = (inverse ? -1 : 1) * table[positions[row] * head_dim + half + d % half];
          const float partner = before[d < half ? i + half : i - half];
          const float want = before[i] * cosine + (d < half ? -partner : partner) * sine;
          ASSERT_NEAR(got[i], want, tolerance * (std::abs(want) + 4)) << "head_dim " << head_dim << ", " << i;
        }
      }
    }
  }
}

TEST(AppendKv, RowsLandInTheirSlots) {
  for (const auto& [type, kv_type] :
       {std::pair{Type::kF32, Type::kF32}, {Type::kF32, Type::kBf16}, {Type::kBf16, Type::kBf16}}) {
    const int heads = 2, head_dim = 48, num_blocks = 3;
    const std::vector<int32_t> slots = {2 * 32 + 31, -1, 5};
    const std::vector<float> k = RandomRows(1, 3 * heads * head_dim, type), v = RandomRows(2, k.size(), type);
    const DeviceArray<uint8_t> device_k(ToBytes(k, type)), device_v(ToBytes(v, type));
    const std::vector<float> untouched(num_blocks * 32 * heads * head_dim, 0.5f);
    const DeviceArray<uint8_t> keys(ToBytes(untouched, kv_type)), values(ToBytes(untouched, kv_type));
    const DeviceArray<int32_t> device_slots(slots);
    const KvPool pool{.keys = keys.data(),
                      .values = values.data(),
                      .type = kv_type,
                      .block_shift = 5,
                      .num_kv_heads = heads,
                      .head_dim = head_dim};
    ASSERT_EQ(LaunchAppendKv({.k = device_k.data(),
                              .v = device_v.data(),
                              .type = type,
                              .kv = pool,
                              .slots = device_slots.data(),
                              .num_rows = 3},
                             nullptr),
              cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    for (const auto& [rows, device] : {std::pair{&k, &keys}, {&v, &values}}) {
      std::vector<float> want = untouched;
      const std::vector<float> rounded = FromBytes(ToBytes(*rows, kv_type), kv_type);
      for (int row = 0; row < 3; ++row) {
        for (int head = 0; head < heads && slots[row] >= 0; ++head) {
          std::copy_n(rounded.begin() + (row * heads + head) * head_dim, head_dim,
                      want.begin() + PoolOffset(pool, slots[row] / 32, head, slots[row] % 32));
        }
      }
      EXPECT_EQ(FromBytes(device->Read(), kv_type), want);
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
