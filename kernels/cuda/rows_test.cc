#include <cmath>
#include <limits>

#include "kernels/cuda/matmul_case.h"
#include "kernels/exact_math.h"

namespace qzo::kernels::cuda {
namespace {

class CudaRowsTest : public EveryOrder {
 protected:
  // The rows of a rounded result in the order of the columns, after its sums and padding were checked.
  std::vector<float> Unrounded(const std::vector<uint16_t>& values, const std::vector<float>& sums, int rows, int cols,
                               int stretches) {
    std::vector<float> plain;
    for (int row = 0; row < rows; ++row) {
      for (int k = 0; k < stretches * kStretch; k += 16) {
        float terms[16];
        for (int i = 0; i < 16; ++i) {
          const int column = k + i, place = column / 32 * 32 + FragmentPlace(column % 32);
          const uint32_t bits = values[static_cast<size_t>(row * stretches * kStretch + place)];
          terms[i] = std::bit_cast<float>(bits << 16);
          if (column < cols) plain.push_back(terms[i]);
          if (column >= cols) {
            EXPECT_EQ(bits, 0u);
          }
        }
        for (int half = 8; half >= 1; half /= 2) {
          for (int i = 0; i < half; ++i) terms[i] += terms[i + half];
        }
        EXPECT_EQ(sums[static_cast<size_t>(row * stretches * 4 + k / 16)], terms[0]);
      }
    }
    return plain;
  }

  struct Rounded {
    Rounded(Gpu& gpu, int rows, int cols)
        : stretches((cols + kStretch - 1) / kStretch),
          values(gpu, static_cast<size_t>(rows * stretches * kStretch)),
          sums(gpu, static_cast<size_t>(rows * stretches * 4)) {}
    RoundedOutput out() { return {values.get(), sums.get(), stretches}; }
    const int stretches;
    OnDevice<uint16_t> values;
    OnDevice<float> sums;
  };

  static constexpr int kRows = 3;
};

std::vector<float> AllToBf16(std::vector<float> values) {
  for (float& value : values) value = ToBf16(value);
  return values;
}

TEST_P(CudaRowsTest, RoundingTakesColumnsInAnyOrder) {
  for (const int cols : {8, 64, 100, 300}) {
    std::vector<int32_t> order;
    for (int i = 0; i < cols; ++i) order.push_back((i * 7 + 3) % cols);  // 7 divides none of them
    const std::vector<float> x = RandomFloats(random_, static_cast<size_t>(kRows * cols));
    for (const bool ordered : {false, true}) {
      OnDevice<float> device_x(gpu(), x);
      OnDevice<int32_t> device_order(gpu(), order), rows(gpu(), std::vector<int32_t>{kRows});
      Rounded result(gpu(), kRows, cols);
      gpu().ops().round(gpu().stream(),
                        {device_x.get(), ordered ? device_order.get() : nullptr, cols, rows.get(), result.out()}, 5);
      std::vector<float> expected;
      for (int i = 0; i < kRows * cols; ++i) {
        const int column = ordered ? order[static_cast<size_t>(i % cols)] : i % cols;
        expected.push_back(ToBf16(x[static_cast<size_t>(i / cols * cols + column)]));
      }
      EXPECT_EQ(
          FirstDifference(Unrounded(result.values.Read(), result.sums.Read(), kRows, cols, result.stretches), expected),
          -1);
    }
  }
}

TEST_P(CudaRowsTest, NormsAreWithinTheBoundAndRoundOnce) {
  for (const int dim : {8, 64, 100, 600}) {
    const std::vector<float> x = RandomFloats(random_, static_cast<size_t>(kRows * dim)),
                             weight = RandomFloats(random_, static_cast<size_t>(dim));
    OnDevice<float> device_x(gpu(), x), device_weight(gpu(), weight), plain(gpu(), x.size());
    OnDevice<int32_t> map(gpu(), std::vector<int32_t>{2, 0, 1}), rows(gpu(), std::vector<int32_t>{kRows});
    Rounded result(gpu(), kRows, dim);
    gpu().ops().norm(gpu().stream(),
                     {.x = device_x.get(),
                      .map = map.get(),
                      .weight = {device_weight.get()},
                      .epsilon = 1e-5f,
                      .dim = dim,
                      .rows = rows.get(),
                      .out = result.out(),
                      .plain = plain.get()},
                     4);
    const std::vector<float> found = plain.Read();
    EXPECT_EQ(FirstDifference(Unrounded(result.values.Read(), result.sums.Read(), kRows, dim, result.stretches),
                              AllToBf16(found)),
              -1);
    for (int i = 0; i < kRows * dim; ++i) {
      const int row = (i / dim + 2) % 3;
      double sum = 0;
      for (int j = 0; j < dim; ++j) sum += std::pow(double{x[static_cast<size_t>(row * dim + j)]}, 2);
      const double expected = double{x[static_cast<size_t>(row * dim + i % dim)]} / std::sqrt(sum / dim + 1e-5) *
                              double{weight[static_cast<size_t>(i % dim)]};
      // The sum of positive terms is off by at most (dim/256 + 16) roundings, half of it after the root; five more.
      EXPECT_NEAR(found[static_cast<size_t>(i)], expected, (dim / 256 + 26) * 0x1p-24 * std::fabs(expected) + 1e-44);
    }
  }
}

TEST_P(CudaRowsTest, LayerNormsAreWithinTheBoundAndRoundOnce) {
  for (const int dim : {8, 64, 100, 600}) {
    const size_t width = static_cast<size_t>(dim);
    std::vector<float> x = RandomFloats(random_, static_cast<size_t>(kRows * dim));
    for (float& value : x) value += 3;  // a mean that matters
    const std::vector<float> weight = RandomFloats(random_, width), bias = RandomFloats(random_, width);
    OnDevice<float> device_x(gpu(), x), device_weight(gpu(), weight), device_bias(gpu(), bias), plain(gpu(), x.size());
    OnDevice<int32_t> rows(gpu(), std::vector<int32_t>{kRows});
    Rounded result(gpu(), kRows, dim);
    gpu().ops().norm(gpu().stream(),
                     {.x = device_x.get(),
                      .weight = {device_weight.get()},
                      .bias = {device_bias.get()},
                      .epsilon = 1e-5f,
                      .dim = dim,
                      .rows = rows.get(),
                      .out = result.out(),
                      .plain = plain.get()},
                     kRows + 1);
    const std::vector<float> found = plain.Read();
    EXPECT_EQ(FirstDifference(Unrounded(result.values.Read(), result.sums.Read(), kRows, dim, result.stretches),
                              AllToBf16(found)),
              -1);
    for (size_t row = 0; row < kRows; ++row) {
      const float* values = x.data() + row * width;
      double mean = 0, size = 0, squares = 0;
      for (size_t j = 0; j < width; ++j) mean += double{values[j]} / dim, size += std::fabs(double{values[j]}) / dim;
      for (size_t j = 0; j < width; ++j) squares += std::pow(double{values[j]} - mean, 2);
      const double s = 1 / std::sqrt(squares / dim + 1e-5);
      // The mean is off by at most (dim / 256 + 16) roundings of the mean magnitude, a difference by one more of its
      // own; the sum of squares by (dim / 256 + 16) of itself, half of it after the root, and by twice the mean's error
      // times the differences, which cancel but for rounding; six more.
      const double roundings = (dim / 256 + 16) * 0x1p-24, of_mean = roundings * size + 0x1p-24 * std::fabs(mean);
      for (size_t j = 0; j < width; ++j) {
        const double normed = (double{values[j]} - mean) * s;
        const double expected = normed * double{weight[j]} + double{bias[j]};
        const double error =
            (std::fabs(normed) * (roundings + 6 * 0x1p-24) + s * of_mean * (1 + std::fabs(normed) * s * of_mean)) *
                std::fabs(double{weight[j]}) +
            0x1p-24 * std::fabs(expected);
        EXPECT_NEAR(found[row * width + j], expected, error + 1e-44) << dim << " row " << row << " column " << j;
      }
    }
  }
}

TEST_P(CudaRowsTest, GatesHaveTheBitsOfTheReference) {
  constexpr int kDim = 100;
  const Kernels& reference = *AllKernels().front();
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu}) {
    for (const bool gated : {true, false}) {
      const std::vector<float> gate = RandomFloats(random_, kRows * kDim), up = RandomFloats(random_, kRows * kDim);
      OnDevice<float> device_gate(gpu(), gate), device_up(gpu(), up);
      OnDevice<int32_t> rows(gpu(), std::vector<int32_t>{kRows});
      Rounded result(gpu(), kRows, kDim);
      gpu().ops().gate(gpu().stream(),
                       {.gate = device_gate.get(),
                        .up = gated ? device_up.get() : nullptr,
                        .activation = activation,
                        .dim = kDim,
                        .rows = rows.get(),
                        .out = result.out(),
                        .plain = device_gate.get()},
                       kRows);
      std::vector<float> expected(gate);
      const std::vector<float> ones(gate.size(), 1.0f);
      if (activation == Activation::kSilu) {
        reference.silu_gate(gate.data(), gated ? up.data() : ones.data(), kRows * kDim, expected.data());
      } else if (activation == Activation::kGeluTanh) {
        reference.gelu_gate(gate.data(), gated ? up.data() : nullptr, kRows * kDim, expected.data());
      } else {
        reference.relu(expected.data(), kRows * kDim);
        for (size_t i = 0; gated && i < expected.size(); ++i) expected[i] *= up[i];
      }
      EXPECT_EQ(FirstDifference(device_gate.Read(), expected), -1) << gated;
      EXPECT_EQ(FirstDifference(Unrounded(result.values.Read(), result.sums.Read(), kRows, kDim, result.stretches),
                                AllToBf16(expected)),
                -1);
    }
  }
}

TEST_P(CudaRowsTest, NormsAreAddedWhereTheyAreAskedTo) {
  constexpr int kDim = 70;
  const std::vector<float> x = RandomFloats(random_, kRows * kDim), weight = RandomFloats(random_, kDim);
  std::vector<float> plain = RandomFloats(random_, kRows * kDim);
  OnDevice<float> device_x(gpu(), x), device_weight(gpu(), weight), normed(gpu(), x.size()), sum(gpu(), plain);
  OnDevice<int32_t> rows(gpu(), std::vector<int32_t>{kRows});
  for (const bool add : {false, true}) {
    gpu().ops().norm(gpu().stream(),
                     {.x = device_x.get(),
                      .weight = {device_weight.get()},
                      .epsilon = 1e-5f,
                      .dim = kDim,
                      .rows = rows.get(),
                      .plain = add ? sum.get() : normed.get(),
                      .add = add},
                     kRows);
  }
  const std::vector<float> found = normed.Read();
  for (size_t i = 0; i < plain.size(); ++i) plain[i] += found[i];
  EXPECT_EQ(FirstDifference(sum.Read(), plain), -1);
}

TEST_P(CudaRowsTest, HeadsAreNormedOneByOne) {
  for (const auto& [heads, dim] : {std::pair{1, 8}, {9, 40}, {16, 128}}) {
    const std::vector<float> x = RandomFloats(random_, static_cast<size_t>(kRows * heads * dim)),
                             weight = RandomFloats(random_, static_cast<size_t>(dim));
    OnDevice<float> device_x(gpu(), x), device_weight(gpu(), weight);
    OnDevice<int32_t> rows(gpu(), std::vector<int32_t>{kRows});
    gpu().ops().norm_heads(gpu().stream(), {device_x.get(), {device_weight.get()}, 1e-6f, heads, dim, rows.get()}, 4);
    const std::vector<float> found = device_x.Read();
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t width = static_cast<size_t>(dim), head = i / width * width;
      double sum = 0;
      for (size_t j = 0; j < width; ++j) sum += std::pow(double{x[head + j]}, 2);
      const double expected = double{x[i]} / std::sqrt(sum / dim + 1e-6) * double{weight[i % width]};
      // The sum is off by at most (dim / 32 + 5) roundings, half of it after the root; six more.
      EXPECT_NEAR(found[i], expected, (dim / 32 + 17) * 0x1p-24 * std::fabs(expected) + 1e-44) << i;
    }
  }
}

TEST_P(CudaRowsTest, SoftCapsHaveTheBitsOfTheReference) {
  std::vector<float> x = RandomFloats(random_, kRows * 300);
  for (float& value : x) value *= 40;
  OnDevice<float> device_x(gpu(), x);
  OnDevice<int32_t> rows(gpu(), std::vector<int32_t>{kRows});
  gpu().ops().soft_cap(gpu().stream(), {device_x.get(), 300, rows.get(), 30.0f}, kRows + 2);
  AllKernels().front()->softcap(x.data(), kRows * 300, 30.0f);
  EXPECT_EQ(FirstDifference(device_x.Read(), x), -1);
}

TEST_P(CudaRowsTest, RotationsRoundWhatTheReferenceComputes) {
  constexpr int kHeads = 3, kDim = 16;
  const std::vector<int32_t> positions = {0, 5, 2};
  for (const int rotary : {0, 8, 16}) {
    for (const RopeLayout layout : {RopeLayout::kAdjacent, RopeLayout::kHalves}) {
      std::vector<float> x = RandomFloats(random_, kRows * kHeads * kDim);
      const std::vector<float> cos = RandomFloats(random_, static_cast<size_t>(6 * rotary / 2 + 1)),
                               sin = RandomFloats(random_, static_cast<size_t>(6 * rotary / 2 + 1));
      OnDevice<float> device_x(gpu(), x), device_cos(gpu(), cos), device_sin(gpu(), sin);
      OnDevice<int32_t> device_positions(gpu(), positions), rows(gpu(), std::vector<int32_t>{kRows});
      OnDevice<uint16_t> out(gpu(), x.size());
      gpu().ops().rotate(gpu().stream(),
                         {.x = device_x.get(),
                          .positions = device_positions.get(),
                          .cos = rotary == 0 ? nullptr : device_cos.get(),
                          .sin = device_sin.get(),
                          .heads = kHeads,
                          .head_dim = kDim,
                          .rotary_dim = rotary,
                          .adjacent = layout == RopeLayout::kAdjacent,
                          .rows = rows.get(),
                          .out = out.get()},
                         kRows + 1);
      AllKernels().front()->rope({.x = x.data(),
                                  .ldx = kHeads * kDim,
                                  .positions = positions,
                                  .heads = kHeads,
                                  .head_dim = kDim,
                                  .rotary_dim = rotary,
                                  .layout = layout,
                                  .cos = cos.data(),
                                  .sin = sin.data()},
                                 0, kRows);
      std::vector<float> found;
      for (const uint16_t bits : out.Read()) found.push_back(std::bit_cast<float>(uint32_t{bits} << 16));
      EXPECT_EQ(FirstDifference(found, AllToBf16(x)), -1) << "rotary " << rotary;
    }
  }
}

TEST_P(CudaRowsTest, EmbeddingsAreTheStoredValues) {
  for (const WeightType type : AllWeightTypes()) {
    const int64_t cols = std::max<int64_t>(BlockValues(type), 96);
    const std::vector<std::byte> bytes = RandomWeights(random_, type, 4, cols);
    const WeightMatrix w{.type = type, .data = bytes.data(), .rows = 4, .cols = cols};
    MatrixOnDevice matrix(gpu(), w);
    const std::vector<int32_t> tokens = {3, 0, 3};
    OnDevice<int32_t> device_tokens(gpu(), tokens), rows(gpu(), std::vector<int32_t>{kRows});
    OnDevice<float> out(gpu(), static_cast<size_t>(kRows * cols));
    gpu().ops().embed(gpu().stream(), {matrix.get(), device_tokens.get(), rows.get(), out.get(), 2.0f}, kRows);
    std::vector<float> expected(static_cast<size_t>(kRows * cols));
    for (int row = 0; row < kRows; ++row) {
      DequantizeRow(w, tokens[static_cast<size_t>(row)], expected.data() + row * cols);
    }
    if (BlockValues(type) == 1) expected = AllToBf16(expected);
    for (float& value : expected) value *= 2;
    EXPECT_EQ(FirstDifference(out.Read(), expected), -1) << WeightTypeName(type);
  }
}

TEST_P(CudaRowsTest, LearnedPositionsAreAdded) {
  constexpr int kCols = 40, kTableRows = 7, kOffset = 2;
  const std::vector<float> table = AllToBf16(RandomFloats(random_, kTableRows * kCols));
  std::vector<float> x = RandomFloats(random_, kRows * kCols);
  MatrixOnDevice matrix(gpu(), {.type = WeightType::kF32,
                                .data = reinterpret_cast<const std::byte*>(table.data()),
                                .rows = kTableRows,
                                .cols = kCols});
  const std::vector<int32_t> positions = {4, 0, 1};
  OnDevice<int32_t> device_positions(gpu(), positions), rows(gpu(), std::vector<int32_t>{kRows});
  OnDevice<float> out(gpu(), x);
  gpu().ops().embed(gpu().stream(),
                    {.table = matrix.get(),
                     .tokens = device_positions.get(),
                     .rows = rows.get(),
                     .out = out.get(),
                     .first = kOffset,
                     .add = true},
                    kRows);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] += table[static_cast<size_t>(positions[i / kCols] + kOffset) * kCols + i % kCols];
  }
  EXPECT_EQ(FirstDifference(out.Read(), x), -1);
}

TEST_P(CudaRowsTest, GatheredRowsAreThoseOfTheMap) {
  OnDevice<float> x(gpu(), std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}), out(gpu(), 6);
  OnDevice<int32_t> map(gpu(), std::vector<int32_t>{3, 0, 2}), rows(gpu(), std::vector<int32_t>{3});
  gpu().ops().gather(gpu().stream(), {x.get(), map.get(), 2, rows.get(), out.get()}, 4);
  EXPECT_EQ(out.Read(), (std::vector<float>{6, 7, 0, 1, 4, 5}));
}

TEST_P(CudaRowsTest, LogProbabilitiesOfChosenTokensAreWithinTheBound) {
  for (const int n : {1, 255, 257, 1000}) {
    std::vector<float> logits = RandomFloats(random_, static_cast<size_t>(kRows * n));
    for (float& logit : logits) logit *= 20;
    const std::vector<ChosenToken> tokens = {{0, 0, 2}, {2, n - 1, 0}, {1, n / 2, 3}, {2, 0, 1}};
    OnDevice<float> device_logits(gpu(), logits);
    OnDevice<int32_t> counts(gpu(), std::vector<int32_t>{kRows, static_cast<int32_t>(tokens.size())});
    OnDevice<double> sums(gpu(), kRows), out(gpu(), tokens.size());
    OnDevice<ChosenToken> device_tokens(gpu(), tokens);
    gpu().ops().log_sum(gpu().stream(), {device_logits.get(), n, counts.get(), sums.get()}, kRows + 1);
    gpu().ops().chosen(
        gpu().stream(),
        {device_logits.get(), n, 0, counts.get(), sums.get(), device_tokens.get(), counts.get() + 1, out.get()}, 9);
    const std::vector<double> found = out.Read();
    for (const ChosenToken& token : tokens) {
      const float* row = logits.data() + token.row * n;
      double total = 0;
      for (int j = 0; j < n; ++j) total += std::exp(double{row[j]} - double{row[token.token]});
      // Every exp is off by 1.2e-7 of itself and the rounding of its argument, below 40 in magnitude.
      EXPECT_NEAR(found[static_cast<size_t>(token.slot)], -std::log(total), 1.2e-7 + 40 * 0x1p-24) << n;
    }
  }
}

QZO_INSTANTIATE_EVERY_ORDER(CudaRowsTest);

}  // namespace
}  // namespace qzo::kernels::cuda
