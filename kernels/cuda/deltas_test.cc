// Vectors, rows and products of unquantized tensors as lanes see them.
#include "kernels/cuda/matmul_case.h"
#include "kernels/cuda/test_gpu.h"
#include "kernels/test_data.h"

namespace qzo::kernels::cuda {
namespace {

constexpr float kUnit = 0.3f;

LaneNoise LaneOf(uint32_t probe, float signed_epsilon, NoiseKind kind) {
  return {.seed = 77,
          .step = 3,
          .probe = probe,
          .signed_epsilon = signed_epsilon,
          .kind = kind,
          .signed_delta_epsilon = signed_epsilon * kUnit};
}
NoiseKey KeyOf(const LaneNoise& lane, uint32_t tensor) {
  return {.kind = lane.kind, .seed = lane.seed, .step = lane.step, .probe = lane.probe, .tensor = tensor};
}
// Values plus a lane's deltas, by the reference.
std::vector<float> Expected(const LaneNoise& lane, uint32_t tensor, const std::vector<float>& values,
                            const std::vector<float>& deltas, size_t begin, size_t count) {
  std::vector<float> sums(count);
  AllKernels().front()->perturb(KeyOf(lane, tensor), 0, static_cast<int64_t>(count), deltas.data() + begin, nullptr,
                                lane.signed_delta_epsilon, sums.data());
  for (size_t i = 0; i < count; ++i) sums[i] += values[begin + i];
  return sums;
}

class CudaDeltasTest : public EveryOrder {};

TEST_P(CudaDeltasTest, VectorsHaveTheBitsOfTheReference) {
  constexpr uint32_t kCounts[] = {300, 1, 256, 7, 40}, kOrdinals[] = {2, 4, 5, 6, 9};
  std::vector<UpdateTensor> tensors;  // the first and the last are not asked for
  int64_t all = 0;
  int blocks = 0;
  for (size_t i = 0; i < 5; ++i) {
    tensors.push_back(
        {.begin = all, .count = kCounts[i], .ordinal = kOrdinals[i], .first_block = blocks, .deltas = true});
    all += kCounts[i];
    blocks += UpdateBlocks(kCounts[i]);
  }
  const int64_t begin = tensors[1].begin, count = tensors[4].begin - begin;
  const std::vector<float> deltas = RandomFloats(random_, static_cast<size_t>(all)),
                           stored = RandomFloats(random_, static_cast<size_t>(count));
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    const std::vector<LaneNoise> lanes = {LaneOf(1, 0.02f, kind), LaneOf(1, -0.02f, kind), LaneOf(2, 0, kind)};
    OnDevice<float> device_stored(gpu(), stored), device_deltas(gpu(), deltas),
        out(gpu(), static_cast<size_t>(3 * (count + 5)));
    OnDevice<UpdateTensor> device_tensors(gpu(), tensors);
    OnDevice<LaneNoise> device_lanes(gpu(), lanes);
    OnDevice<int32_t> lane_count(gpu(), std::vector<int32_t>{3});
    gpu().ops().lane_vectors(gpu().stream(),
                             {.stored = device_stored.get(),
                              .deltas = device_deltas.get() + begin,
                              .begin = begin,
                              .tensors = device_tensors.get(),
                              .tensor_count = 5,
                              .first_block = tensors[1].first_block,
                              .blocks = tensors[4].first_block - tensors[1].first_block,
                              .lanes = device_lanes.get(),
                              .lane_count = lane_count.get(),
                              .out = out.get(),
                              .stride = count + 5},
                             4);
    const std::vector<float> found = out.Read();
    for (size_t lane = 0; lane < 3; ++lane) {
      for (size_t i = 1; i < 4; ++i) {
        const std::vector<float> of_tensor(deltas.begin() + tensors[i].begin,
                                           deltas.begin() + tensors[i].begin + kCounts[i]);
        const std::vector<float> values(stored.begin() + tensors[i].begin - begin,
                                        stored.begin() + tensors[i].begin - begin + kCounts[i]);
        const auto at = found.begin() + static_cast<int64_t>(lane) * (count + 5) + tensors[i].begin - begin;
        EXPECT_EQ(FirstDifference(std::vector<float>(at, at + kCounts[i]),
                                  Expected(lanes[lane], kOrdinals[i], values, of_tensor, 0, kCounts[i])),
                  -1)
            << "lane " << lane << " tensor " << i;
      }
    }
  }
}

TEST_P(CudaDeltasTest, NormsTakeTheVectorOfTheirRowsLane) {
  constexpr int kDim = 64, kRows = 3;
  const std::vector<float> x = RandomFloats(random_, kRows * kDim), weights = RandomFloats(random_, 2 * kDim);
  const std::vector<int32_t> row_lanes = {1, 0, 1};
  OnDevice<float> device_x(gpu(), x), heads(gpu(), x), device_weights(gpu(), weights), found(gpu(), x.size()),
      alone(gpu(), x.size());
  OnDevice<int32_t> lanes(gpu(), row_lanes), rows(gpu(), std::vector<int32_t>{kRows});
  const LaneVector by_lane{device_weights.get(), lanes.get(), kDim};
  gpu().ops().norm(gpu().stream(),
                   {.x = device_x.get(),
                    .weight = by_lane,
                    .bias = by_lane,
                    .epsilon = 1e-5f,
                    .dim = kDim,
                    .rows = rows.get(),
                    .plain = found.get()},
                   kRows);
  gpu().ops().norm_heads(gpu().stream(), {heads.get(), by_lane, 1e-5f, 1, kDim, rows.get()}, kRows);
  const std::vector<float> normed = found.Read(), of_heads = heads.Read();
  for (int lane = 0; lane < 2; ++lane) {
    const LaneVector one{device_weights.get() + lane * kDim};
    OnDevice<float> again(gpu(), x);
    gpu().ops().norm(gpu().stream(),
                     {.x = device_x.get(),
                      .weight = one,
                      .bias = one,
                      .epsilon = 1e-5f,
                      .dim = kDim,
                      .rows = rows.get(),
                      .plain = alone.get()},
                     kRows);
    gpu().ops().norm_heads(gpu().stream(), {again.get(), one, 1e-5f, 1, kDim, rows.get()}, kRows);
    const auto row_of = [](const std::vector<float>& all, int row) {
      return std::vector<float>(all.begin() + row * kDim, all.begin() + (row + 1) * kDim);
    };
    const std::vector<float> expected = alone.Read(), expected_heads = again.Read();
    for (int row = 0; row < kRows; ++row) {
      if (row_lanes[static_cast<size_t>(row)] != lane) continue;
      EXPECT_EQ(FirstDifference(row_of(normed, row), row_of(expected, row)), -1) << row;
      EXPECT_EQ(FirstDifference(row_of(of_heads, row), row_of(expected_heads, row)), -1) << row;
    }
  }
}

TEST_P(CudaDeltasTest, EmbeddingsHaveTheBitsOfTheReference) {
  constexpr int kTokens = 5, kCols = 72, kRows = 4;
  constexpr uint32_t kTensor = 1;
  std::vector<float> table = RandomFloats(random_, kTokens * kCols);
  for (float& value : table) value = ToBf16(value);
  const std::vector<float> deltas = RandomFloats(random_, table.size());
  MatrixOnDevice matrix(gpu(), {.type = WeightType::kF32,
                                .data = reinterpret_cast<const std::byte*>(table.data()),
                                .rows = kTokens,
                                .cols = kCols});
  const std::vector<int32_t> tokens = {4, 0, 2, 4}, row_lanes = {0, 0, 1, 2};
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    const std::vector<LaneNoise> lanes = {LaneOf(0, 0.5f, kind), LaneOf(0, -0.5f, kind), LaneOf(1, 0, kind)};
    OnDevice<float> device_deltas(gpu(), deltas), out(gpu(), kRows * kCols);
    OnDevice<LaneNoise> device_lanes(gpu(), lanes);
    OnDevice<int32_t> device_tokens(gpu(), tokens), device_row_lanes(gpu(), row_lanes),
        rows(gpu(), std::vector<int32_t>{kRows});
    gpu().ops().embed(gpu().stream(),
                      {.table = matrix.get(),
                       .tokens = device_tokens.get(),
                       .rows = rows.get(),
                       .out = out.get(),
                       .scale = 1.5f,
                       .deltas = {device_deltas.get(), kTensor},
                       .lanes = device_lanes.get(),
                       .row_lanes = device_row_lanes.get()},
                      kRows + 1);
    std::vector<float> expected;
    for (size_t row = 0; row < kRows; ++row) {
      const std::vector<float> all =
          Expected(lanes[static_cast<size_t>(row_lanes[row])], kTensor, table, deltas, 0, table.size());
      for (int k = 0; k < kCols; ++k) expected.push_back(1.5f * all[static_cast<size_t>(tokens[row] * kCols + k)]);
    }
    EXPECT_EQ(FirstDifference(out.Read(), expected), -1);
  }
}

// A head's deltas, rows of x in three lanes, the last of which is not perturbed.
struct ProductCase {
  ProductCase(std::mt19937& random, int n_in, int k_in, const std::vector<int>& lane_rows, NoiseKind kind)
      : n(n_in), k(k_in) {
    for (size_t lane = 0; lane < lane_rows.size(); ++lane) {
      const float sign = lane % 2 == 0 ? 1.0f : -1.0f;
      lanes.push_back(LaneOf(static_cast<uint32_t>(lane / 2), lane == 2 ? 0 : sign * 0.25f, kind));
      AddStrips(static_cast<int>(lane), lane_rows[lane], &rows, &strips);
    }
    x = RandomFloats(random, static_cast<size_t>(rows * k));
    y = RandomFloats(random, static_cast<size_t>(rows * n));
    deltas = RandomFloats(random, static_cast<size_t>(n * k));
  }

  // y after the product, rows [first, end) of x; others stay.
  std::vector<float> Run(Gpu& gpu, const std::vector<Strip>& some, int first, int end) const {
    const int stretches = (k + kStretch - 1) / kStretch;
    OnDevice<float> device_x(gpu, x), device_deltas(gpu, deltas), sums(gpu, static_cast<size_t>(rows * stretches * 4)),
        out(gpu, std::vector<float>(y.begin() + first * n, y.begin() + end * n));
    OnDevice<uint16_t> values(gpu, static_cast<size_t>(rows * stretches * kStretch));
    OnDevice<LaneNoise> device_lanes(gpu, lanes);
    OnDevice<Strip> device_strips(gpu, some);
    OnDevice<int32_t> counts(gpu, std::vector<int32_t>{rows, static_cast<int32_t>(some.size()), end - first});
    gpu.ops().round(
        gpu.stream(),
        {.x = device_x.get(), .cols = k, .rows = counts.get(), .out = {values.get(), sums.get(), stretches}}, rows);
    gpu.ops().delta_product(gpu.stream(), {.x = {values.get(), sums.get()},
                                           .deltas = {device_deltas.get(), kTensor},
                                           .rows = n,
                                           .cols = k,
                                           .lanes = device_lanes.get(),
                                           .strips = device_strips.get(),
                                           .strip_count = counts.get() + 1,
                                           .max_strips = static_cast<int>(some.size()) + 1,
                                           .first_row = first,
                                           .held = counts.get() + 2,
                                           .y = out.get()});
    return out.Read();
  }

  // The largest error of `found` as a part of what is allowed: each sum passes one rounding for each of K / 16 products
  // (inside them up to 16 more, on a device), and both are added to y, each of at most 2^-23 of the terms' magnitudes
  // (truncation included).
  double Error(const std::vector<float>& found) const {
    double worst = 0;
    const std::vector<float> nothing(deltas.size());
    const double allowed = (static_cast<double>(k) / 16 * 2 + 20) * 0x1p-23;
    for (const Strip& strip : strips) {
      const LaneNoise& lane = lanes[static_cast<size_t>(strip.lane)];
      LaneNoise one = lane;
      one.signed_delta_epsilon = 1;
      const std::vector<float> z = Expected(one, kTensor, nothing, nothing, 0, deltas.size());
      for (int row = strip.begin; row < strip.begin + strip.rows; ++row) {
        for (int column = 0; column < n; ++column) {
          const double before = double{y[static_cast<size_t>(row * n + column)]};
          double sum = before, size = std::fabs(before);
          for (int i = 0; i < k; ++i) {
            const size_t at = static_cast<size_t>(column * k + i);
            const double activation = double{ToBf16(x[static_cast<size_t>(row * k + i)])};
            const double stored = double{ToBf16(deltas[at])};
            const double moved = double{lane.signed_delta_epsilon} * double{ToBf16(z[at])};
            sum += activation * (stored + moved);
            size += std::fabs(activation) * (std::fabs(stored) + std::fabs(moved));
          }
          const double error = std::fabs(double{found[static_cast<size_t>(row * n + column)]} - sum);
          worst = std::max(worst, error / (allowed * size));
        }
      }
    }
    return worst;
  }

  static constexpr uint32_t kTensor = 6;
  const int n, k;
  int rows = 0;
  std::vector<LaneNoise> lanes;
  std::vector<Strip> strips;
  std::vector<float> x, y, deltas;
};

TEST_P(CudaDeltasTest, ProductsAreWithinTheBoundAroundTileEdges) {
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    for (const auto& [n, k] : {std::pair{1, 4}, {17, 60}, {129, 68}, {40, 256}}) {
      for (const std::vector<int>& lane_rows : {std::vector<int>{1}, {65, 3, 2}}) {
        const ProductCase problem(random_, n, k, lane_rows, kind);
        EXPECT_LE(problem.Error(problem.Run(gpu(), problem.strips, 0, problem.rows)), 1)
            << n << " x " << k << ", " << problem.rows << " rows";
      }
    }
  }
}

TEST_P(CudaDeltasTest, ARowsProductHasTheSameBitsWhateverSharesTheCall) {
  const ProductCase problem(random_, 36, 192, {40, 70, 9}, NoiseKind::kRademacher);
  const std::vector<float> all = problem.Run(gpu(), problem.strips, 0, problem.rows);
  std::vector<float> parts;
  for (const auto& [first, end] : {std::pair{0, 33}, {33, 107}, {107, 119}}) {
    const std::vector<float> part = problem.Run(gpu(), problem.strips, first, end);
    parts.insert(parts.end(), part.begin(), part.end());
  }
  EXPECT_EQ(FirstDifference(all, parts), -1);
  std::vector<Strip> cut;
  for (const Strip& strip : problem.strips) {
    for (int row = 0; row < strip.rows; row += 13) {
      cut.push_back({strip.begin + row, std::min(13, strip.rows - row), strip.lane});
    }
  }
  std::reverse(cut.begin(), cut.end());
  EXPECT_EQ(FirstDifference(all, problem.Run(gpu(), cut, 0, problem.rows)), -1);
}

// What rounding the sum of delta and perturbation to bfloat16 would lose.
TEST_P(CudaDeltasTest, APerturbationFarBelowTheDeltasIsNotLost) {
  ProductCase problem(random_, 5, 64, {1, 1}, NoiseKind::kRademacher);
  for (float& delta : problem.deltas) delta = 1;
  for (LaneNoise& lane : problem.lanes) lane.signed_delta_epsilon = lane.signed_epsilon > 0 ? 0x1p-14f : -0x1p-14f;
  std::fill(problem.x.begin(), problem.x.end(), 1.0f);
  std::fill(problem.y.begin(), problem.y.end(), 0.0f);
  const std::vector<float> found = problem.Run(gpu(), problem.strips, 0, 2);
  const std::vector<float> nothing(problem.deltas.size());
  LaneNoise one = problem.lanes[0];
  one.signed_delta_epsilon = 1;
  const std::vector<float> z = Expected(one, ProductCase::kTensor, nothing, nothing, 0, nothing.size());
  float moved = 0;
  for (size_t column = 0; column < 5; ++column) {
    float sum = 0;
    for (size_t i = 0; i < 64; ++i) sum += z[column * 64 + i];
    EXPECT_EQ(found[column], 64 + 0x1p-14f * sum) << column;
    EXPECT_EQ(found[5 + column], 64 - 0x1p-14f * sum) << column;
    moved += std::fabs(sum);
  }
  EXPECT_GT(moved, 0);
}

QZO_INSTANTIATE_EVERY_ORDER(CudaDeltasTest);

}  // namespace
}  // namespace qzo::kernels::cuda
