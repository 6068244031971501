// The baseline's kernel on the emulator: a comparison with wrong weights would mean nothing.
#include "bench/dequantize.h"

#include <vector>

#include "kernels/cuda/matmul_case.h"
#include "kernels/weight_blocks.h"

namespace qzo::bench {
namespace {

using namespace kernels;
using namespace kernels::cuda;

TEST(DequantizeTest, MakesEveryValueOfALane) {
  std::mt19937 random(3);
  for (const auto& [type, rows, cols] :
       {std::tuple{WeightType::kQ4_0, 5, 96}, {WeightType::kQ4_0, 33, 64}, {WeightType::kU4x128, 7, 256}}) {
    for (const bool grouped : {false, true}) {
      const std::vector<std::byte> bytes = RandomWeights(random, type, rows, cols);
      const WeightMatrix w{.type = type, .data = bytes.data(), .rows = rows, .cols = cols};
      const PackedMatrix packed = PackMatrix(w);
      const int64_t groups = cols / GroupSize(w);
      const std::vector<float> multipliers = RandomFloats(random, static_cast<size_t>(grouped ? rows * groups : rows));
      const int width = packed.shape.stretches * kStretch;
      std::vector<uint16_t> out(static_cast<size_t>(rows * width), 0xffff);
      const DequantizeParams params{packed.shape, multipliers.data(), grouped, out.data()};
      const int blocks = (rows * packed.shape.stretches * 8 + kDequantizeThreads - 1) / kDequantizeThreads;
      ASSERT_TRUE(emulator::Launch(emulator::Order::kShuffled, {blocks, 1}, kDequantizeThreads, 0, [&] {
                    DequantizeKernel(params);
                  }).ok());
      for (int row = 0; row < rows; ++row) {
        for (int k = 0; k < cols; k += 32) {
          CodeBlock block;
          DecodeCodes(type, w.data + row * (cols / BlockValues(type) * BlockBytes(type)), k, &block);
          const int64_t multiplier = grouped ? row * groups + k / GroupSize(w) : row;
          const float scale = multipliers[static_cast<size_t>(multiplier)] * block.scale[0];
          for (int i = 0; i < 32; ++i) {
            const float found = Bf16ToFloat(out[static_cast<size_t>(row * width + k + FragmentPlace(i))]);
            EXPECT_EQ(found, ToBf16(scale * static_cast<float>(block.codes[i]))) << row << " " << k + i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace qzo::bench
