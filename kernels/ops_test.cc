// Every op but the matrix product (matmul_test.cc) and noise (noise_test.cc).
#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/exact_math.h"
#include "kernels/fastest.h"
#include "kernels/rope_table.h"
#include "kernels/test_data.h"

namespace qzo::kernels {
namespace {

constexpr double kUlp = 0x1p-24;  // relative error of one rounding

class OpsTest : public EveryVariant {
 protected:
  std::vector<float> Floats(int64_t count) { return RandomFloats(random_, static_cast<size_t>(count)); }
};

constexpr int64_t kLengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 576, 1000};

TEST_P(OpsTest, RmsNormEqualsTheReferenceAndStaysNearTheExactValue) {
  for (const int64_t dim : kLengths) {
    const int64_t rows = 3, ldx = dim + 2, ldy = dim + 1;
    const std::vector<float> x = Floats(rows * ldx), weight = Floats(dim), start = Floats(rows * ldy);
    std::vector<float> y = start, expected = start;
    kernels().rms_norm(x.data(), ldx, weight.data(), 1e-5f, rows, dim, y.data(), ldy);
    reference().rms_norm(x.data(), ldx, weight.data(), 1e-5f, rows, dim, expected.data(), ldy);
    ASSERT_EQ(FirstDifference(y, expected), -1) << dim;
    for (int64_t row = 0; row < rows; ++row) {
      double squares = 0;
      for (int64_t j = 0; j < dim; ++j) squares += std::pow(double{x[static_cast<size_t>(row * ldx + j)]}, 2);
      const double s = 1 / std::sqrt(squares / static_cast<double>(dim) + 1e-5f);
      for (int64_t j = 0; j < dim; ++j) {
        const double exact = x[static_cast<size_t>(row * ldx + j)] * s * weight[static_cast<size_t>(j)];
        const double roundings = static_cast<double>(dim) / 16 + 12;
        ASSERT_NEAR(y[static_cast<size_t>(row * ldy + j)], exact, roundings * kUlp * std::fabs(exact) + 1e-44);
      }
    }
  }
}

TEST_P(OpsTest, RmsNormWorksInPlace) {
  const std::vector<float> x = Floats(100), weight = Floats(100);
  std::vector<float> y(100), in_place = x;
  kernels().rms_norm(x.data(), 100, weight.data(), 1e-6f, 1, 100, y.data(), 100);
  kernels().rms_norm(in_place.data(), 100, weight.data(), 1e-6f, 1, 100, in_place.data(), 100);
  EXPECT_EQ(FirstDifference(y, in_place), -1);
}

// A mean of values below 1 carries dim / 16 + 5 roundings of at most 1; the deviation adds as many, relative.
TEST_P(OpsTest, LayerNormEqualsTheReferenceAndStaysNearTheExactValue) {
  for (const int64_t dim : kLengths) {
    const int64_t rows = 3, ldx = dim + 2, ldy = dim + 1;
    const std::vector<float> x = Floats(rows * ldx), weight = Floats(dim), bias = Floats(dim);
    std::vector<float> y(static_cast<size_t>(rows * ldy), -7.0f), expected = y;
    kernels().layer_norm(x.data(), ldx, weight.data(), bias.data(), 1e-5f, rows, dim, y.data(), ldy);
    reference().layer_norm(x.data(), ldx, weight.data(), bias.data(), 1e-5f, rows, dim, expected.data(), ldy);
    ASSERT_EQ(FirstDifference(y, expected), -1) << dim;
    for (int64_t row = 0; row < rows; ++row) {
      const float* at = x.data() + row * ldx;
      double mean = 0, squares = 0;
      for (int64_t j = 0; j < dim; ++j) mean += at[j] / static_cast<double>(dim);
      for (int64_t j = 0; j < dim; ++j) squares += std::pow(at[j] - mean, 2);
      const double s = 1 / std::sqrt(squares / static_cast<double>(dim) + 1e-5f);
      const double roundings = static_cast<double>(dim) / 16 + 12;
      for (int64_t j = 0; j < dim; ++j) {
        const double scaled = (at[j] - mean) * s;
        const double bound = 2 * roundings * kUlp * (s + std::fabs(scaled)) + 2 * kUlp;
        ASSERT_NEAR(y[static_cast<size_t>(row * ldy + j)],
                    scaled * weight[static_cast<size_t>(j)] + bias[static_cast<size_t>(j)], bound);
      }
    }
    std::vector<float> in_place = x;
    kernels().layer_norm(in_place.data(), ldx, weight.data(), bias.data(), 1e-5f, rows, dim, in_place.data(), ldx);
    for (int64_t row = 0; row < rows; ++row) {
      EXPECT_EQ(std::memcmp(&in_place[static_cast<size_t>(row * ldx)], &y[static_cast<size_t>(row * ldy)],
                            static_cast<size_t>(dim) * sizeof(float)),
                0);
    }
  }
}

TEST_P(OpsTest, RopeEqualsTheReferenceAndRotatesPairs) {
  for (const RopeLayout layout : {RopeLayout::kAdjacent, RopeLayout::kHalves}) {
    for (const int rotary_dim : {2, 6, 32, 34, 64, 80}) {
      const int heads = 3, head_dim = 80, half = rotary_dim / 2;
      const int32_t positions[] = {0, 5, 1, 99};
      const RopeTable table = BuildRopeTable(100, rotary_dim, 10000);
      const int64_t ldx = heads * head_dim + 7;
      const std::vector<float> x = Floats(4 * ldx);
      std::vector<float> y = x, expected = x;
      RopeArgs args{.x = y.data(),
                    .ldx = ldx,
                    .positions = positions,
                    .heads = heads,
                    .head_dim = head_dim,
                    .rotary_dim = rotary_dim,
                    .layout = layout,
                    .cos = table.cos.data(),
                    .sin = table.sin.data()};
      kernels().rope(args, 1, 4);
      args.x = expected.data();
      reference().rope(args, 1, 4);
      ASSERT_EQ(FirstDifference(y, expected), -1) << rotary_dim;
      EXPECT_TRUE(std::equal(x.begin(), x.begin() + ldx, y.begin()));  // row 0 was not asked for
      for (int64_t at = 0; at < head_dim; ++at) {                      // head 1 of the last row, at position 99
        const int64_t head = 3 * ldx + head_dim;
        if (at >= rotary_dim) {
          EXPECT_EQ(y[static_cast<size_t>(head + at)], x[static_cast<size_t>(head + at)]);
          continue;
        }
        const int64_t pair = layout == RopeLayout::kAdjacent ? at / 2 : at % half;
        const bool second = layout == RopeLayout::kAdjacent ? at % 2 == 1 : at >= half;
        const double a = x[static_cast<size_t>(head + (layout == RopeLayout::kAdjacent ? 2 * pair : pair))];
        const double b = x[static_cast<size_t>(head + (layout == RopeLayout::kAdjacent ? 2 * pair + 1 : pair + half))];
        const double angle = 99 * std::pow(10000.0, -2.0 * static_cast<double>(pair) / rotary_dim);
        const double exact =
            second ? a * std::sin(angle) + b * std::cos(angle) : a * std::cos(angle) - b * std::sin(angle);
        EXPECT_NEAR(y[static_cast<size_t>(head + at)], exact, 4 * kUlp * (std::fabs(a) + std::fabs(b)));
      }
    }
  }
}

struct AttentionCase {
  AttentionCase(std::mt19937& random, int heads, int kv_heads, int head_dim, std::vector<KeySpan> row_spans)
      : spans(std::move(row_spans)) {
    const int64_t rows = static_cast<int64_t>(spans.size());
    const int64_t ldq = heads * head_dim + 1, ldkv = kv_heads * head_dim + 2, ldo = heads * head_dim + 3;
    int32_t key_rows = 0;
    for (const KeySpan& span : spans) key_rows = std::max({key_rows, span.prefix_end, span.own_end});
    q = RandomFloats(random, static_cast<size_t>(rows * ldq));
    k = RandomFloats(random, static_cast<size_t>(key_rows * ldkv));
    v = RandomFloats(random, static_cast<size_t>(key_rows * ldkv));
    for (float& value : q) value *= 4;  // scores far enough apart for the softmax to matter
    args = {.q = q.data(),
            .ldq = ldq,
            .k = k.data(),
            .v = v.data(),
            .ldkv = ldkv,
            .spans = spans,
            .heads = heads,
            .kv_heads = kv_heads,
            .head_dim = head_dim,
            .scale = 1 / std::sqrt(static_cast<float>(head_dim)),
            .out = nullptr,
            .ldo = ldo};
  }
  AttentionCase(const AttentionCase&) = delete;
  AttentionCase& operator=(const AttentionCase&) = delete;

  std::vector<float> Run(const Kernels& kernels, int64_t begin, int64_t end) const {
    std::vector<float> out(spans.size() * static_cast<size_t>(args.ldo), -7.0f);
    AttentionArgs run = args;
    run.out = out.data();
    kernels.attention(run, begin, end);
    return out;
  }
  std::vector<float> Run(const Kernels& kernels) const { return Run(kernels, 0, static_cast<int64_t>(spans.size())); }

  std::vector<KeySpan> spans;
  std::vector<float> q, k, v;
  AttentionArgs args;
};

// Rows that share the prompt [0, prompt) and then are branches of their own, and some without branch.
std::vector<KeySpan> BranchSpans(int32_t prompt, int32_t branch) {
  std::vector<KeySpan> spans;
  for (int32_t row = 0; row < prompt; ++row) spans.push_back({0, 0, 0, row + 1});
  for (int32_t start = prompt; start < prompt + 2 * branch; start += branch) {
    for (int32_t row = 0; row < branch; ++row) spans.push_back({0, prompt, start, start + row + 1});
  }
  return spans;
}

TEST_P(OpsTest, AttentionEqualsTheReference) {
  const struct {
    int heads, kv_heads, head_dim;
  } shapes[] = {{1, 1, 16}, {9, 3, 64}, {3, 1, 18}, {2, 1, 8}, {4, 4, 32}, {5, 1, 48}, {8, 1, 80}, {12, 2, 128}};
  for (const auto& shape : shapes) {
    for (const auto& [prompt, branch] : {std::pair{1, 1}, {7, 3}, {15, 2}, {16, 17}, {33, 5}}) {
      const AttentionCase problem(random_, shape.heads, shape.kv_heads, shape.head_dim, BranchSpans(prompt, branch));
      const int64_t at = FirstDifference(problem.Run(kernels()), problem.Run(reference()));
      ASSERT_EQ(at, -1) << shape.heads << " heads of " << shape.head_dim << ", prompt " << prompt << ": row "
                        << at / problem.args.ldo << " element " << at % problem.args.ldo;
    }
  }
}

TEST_P(OpsTest, AttentionOfARowDependsOnItsKeysAlone) {
  const AttentionCase problem(random_, 6, 2, 32, BranchSpans(21, 4));
  const std::vector<float> together = problem.Run(kernels());
  for (int64_t row = 0; row < 29; ++row) {
    const std::vector<float> alone = problem.Run(kernels(), row, row + 1);
    const size_t begin = static_cast<size_t>(row * problem.args.ldo);
    ASSERT_EQ(std::memcmp(&alone[begin], &together[begin], 6 * 32 * sizeof(float)), 0);
    ASSERT_EQ(std::count(alone.begin(), alone.end(), -7.0f), static_cast<int64_t>(alone.size()) - 6 * 32);
  }
  // A prefix is nothing but keys that come first: the same keys as one range give the same bits.
  AttentionCase one_range(random_, 6, 2, 32, {{0, 12, 12, 20}});
  const std::vector<float> split = one_range.Run(kernels());
  one_range.spans[0] = {0, 0, 0, 20};
  EXPECT_EQ(FirstDifference(split, one_range.Run(kernels())), -1);
}

TEST_P(OpsTest, SoftCappedAttentionEqualsTheReferenceAndCapsScores) {
  for (const auto& [prompt, branch] : {std::pair{1, 1}, {7, 3}, {16, 17}, {33, 5}}) {
    AttentionCase problem(random_, 6, 2, 32, BranchSpans(prompt, branch));
    problem.args.softcap = 0.5f;
    ASSERT_EQ(FirstDifference(problem.Run(kernels()), problem.Run(reference())), -1) << prompt;
  }
  AttentionCase capped(random_, 1, 1, 16, {{0, 0, 0, 2}});
  std::fill(capped.q.begin(), capped.q.end(), 1.0f);
  for (size_t i = 0; i < 16; ++i) {
    capped.k[i] = 50;  // score 200 against 0: without a cap all weight is on the first key
    capped.k[static_cast<size_t>(capped.args.ldkv) + i] = 0;
    capped.v[i] = 1;
    capped.v[static_cast<size_t>(capped.args.ldkv) + i] = 0;
  }
  EXPECT_EQ(capped.Run(kernels())[0], 1.0f);
  capped.args.softcap = 2;
  EXPECT_NEAR(capped.Run(kernels())[0], 1 / (1 + std::exp(-2.0)), 1e-6);
}

// Scores carry (dim + 2) roundings of Σ|q·k|; an error of e in a score is one of 2e in each weight, exp adds two
// roundings and the sums one per key.
TEST_P(OpsTest, AttentionStaysNearTheExactValue) {
  const int dim = 64, keys = 50;
  const AttentionCase problem(random_, 4, 2, dim, {{0, 20, 20, keys}});
  const std::vector<float> out = problem.Run(kernels());
  for (int head = 0; head < 4; ++head) {
    const size_t kv = static_cast<size_t>(head / 2 * dim), ldkv = static_cast<size_t>(problem.args.ldkv);
    std::vector<double> p(keys);
    double sum = 0, score_error = 0;
    for (size_t j = 0; j < keys; ++j) {
      double dot = 0, magnitude = 0;
      for (size_t i = 0; i < dim; ++i) {
        const double term = double{problem.q[static_cast<size_t>(head * dim) + i]} * problem.k[j * ldkv + kv + i];
        dot += term;
        magnitude += std::fabs(term);
      }
      score_error = std::max(score_error, (dim + 2) * kUlp * magnitude * problem.args.scale);
      p[j] = std::exp(dot * problem.args.scale);
      sum += p[j];
    }
    for (size_t i = 0; i < dim; ++i) {
      double exact = 0, magnitude = 0;
      for (size_t j = 0; j < keys; ++j) {
        exact += p[j] / sum * problem.v[j * ldkv + kv + i];
        magnitude += p[j] / sum * std::fabs(problem.v[j * ldkv + kv + i]);
      }
      const double bound = (4 * score_error + (2 * keys + 8) * kUlp) * magnitude;
      EXPECT_NEAR(out[static_cast<size_t>(head * dim) + i], exact, bound);
    }
  }
}

TEST_P(OpsTest, SiluGateEqualsTheReferenceAlsoInPlace) {
  for (const int64_t n : kLengths) {
    std::vector<float> gate = Floats(n), up = Floats(n);
    for (float& value : gate) value *= 200;  // past both ends of exp
    std::vector<float> out(static_cast<size_t>(n + 3), -7.0f), expected = out;
    kernels().silu_gate(gate.data(), up.data(), n, out.data());
    reference().silu_gate(gate.data(), up.data(), n, expected.data());
    ASSERT_EQ(FirstDifference(out, expected), -1) << n;
    for (size_t i = 0; i < gate.size(); ++i) {
      const double exact = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
      EXPECT_NEAR(out[i], exact, 8 * kUlp * std::fabs(exact) + 1e-36);
    }
    kernels().silu_gate(gate.data(), up.data(), n, gate.data());
    EXPECT_TRUE(std::equal(gate.begin(), gate.end(), out.begin()));
  }
}

TEST_P(OpsTest, ElementwiseOpsEqualTheReference) {
  for (const int64_t n : kLengths) {
    std::vector<float> x = Floats(n);
    const std::vector<float> up = Floats(n);
    for (float& value : x) value *= 20;
    const auto expect_same = [&](const auto& run) {
      std::vector<float> got = x, expected = x;
      run(kernels(), got.data());
      run(reference(), expected.data());
      EXPECT_EQ(FirstDifference(got, expected), -1) << n;
      return got;
    };
    for (const float* gate : {up.data(), static_cast<const float*>(nullptr)}) {
      const std::vector<float> y = expect_same([&](const Kernels& k, float* z) { k.gelu_gate(z, gate, n, z); });
      for (size_t i = 0; i < y.size(); ++i) {
        EXPECT_EQ(y[i], GeluTanh(x[i]) * (gate == nullptr ? 1.0f : gate[i]));
      }
    }
    const std::vector<float> positive = expect_same([&](const Kernels& k, float* z) { k.relu(z, n); });
    const std::vector<float> capped = expect_same([&](const Kernels& k, float* z) { k.softcap(z, n, 3); });
    const std::vector<float> sum = expect_same([&](const Kernels& k, float* z) { k.add(up.data(), n, z); });
    for (size_t i = 0; i < sum.size(); ++i) {
      EXPECT_EQ(positive[i], std::max(0.0f, x[i]));
      EXPECT_EQ(capped[i], SoftCap(x[i], 3.0f));
      EXPECT_EQ(sum[i], x[i] + up[i]);
    }
  }
}

TEST_P(OpsTest, LogSumExpEqualsTheReferenceAndStaysNearTheExactValue) {
  for (const int64_t n : kLengths) {
    std::vector<float> x = Floats(n);
    for (float& value : x) value *= 30;
    const double result = kernels().log_sum_exp(x.data(), n);
    ASSERT_EQ(std::bit_cast<uint64_t>(result), std::bit_cast<uint64_t>(reference().log_sum_exp(x.data(), n))) << n;
    double sum = 0;
    for (const float value : x) sum += std::exp(double{value});
    EXPECT_NEAR(result, std::log(sum), 34 * kUlp + 4 * kUlp);  // x − max is below 64 and rounded, exp has two roundings
  }
}

// A loss that is not finite must be seen as such, wherever it arises.
TEST_P(OpsTest, NanReachesTheResult) {
  const float nan = std::nanf("");
  for (const int64_t n : kLengths) {
    for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
      std::vector<float> x = Floats(n);
      x[static_cast<size_t>(at)] = nan;
      EXPECT_TRUE(std::isnan(kernels().log_sum_exp(x.data(), n)));
      std::vector<float> out(static_cast<size_t>(n));
      const std::vector<float> ones(static_cast<size_t>(n), 1.0f);
      kernels().silu_gate(x.data(), ones.data(), n, out.data());
      EXPECT_TRUE(std::isnan(out[static_cast<size_t>(at)]));
      kernels().rms_norm(x.data(), n, ones.data(), 1e-5f, 1, n, out.data(), n);
      EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float y) { return std::isnan(y); }));
      kernels().layer_norm(x.data(), n, ones.data(), ones.data(), 1e-5f, 1, n, out.data(), n);
      EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float y) { return std::isnan(y); }));
      for (const bool relu : {true, false}) {
        out = x;
        relu ? kernels().relu(out.data(), n) : kernels().softcap(out.data(), n, 2);
        EXPECT_TRUE(std::isnan(out[static_cast<size_t>(at)]));
      }
      kernels().gelu_gate(x.data(), nullptr, n, out.data());
      EXPECT_TRUE(std::isnan(out[static_cast<size_t>(at)]));
    }
  }
  const std::vector<float> infinite(20, -INFINITY);
  EXPECT_TRUE(std::isnan(kernels().log_sum_exp(infinite.data(), 20)));
  for (const size_t key : {0, 10, 19}) {
    AttentionCase problem(random_, 1, 1, 16, {{0, 0, 0, 20}});
    problem.k[key * static_cast<size_t>(problem.args.ldkv)] = nan;
    const std::vector<float> out = problem.Run(kernels());
    EXPECT_TRUE(std::all_of(out.begin(), out.begin() + 16, [](float y) { return std::isnan(y); }));
  }
}

QZO_INSTANTIATE_EVERY_VARIANT(OpsTest);

TEST(Selection, ListsTheReferenceFirstAndFindsByName) {
  EXPECT_EQ(AllKernels().front()->name, "reference");
  EXPECT_TRUE(AllKernels().front()->supported());
  for (const Kernels* kernels : AllKernels()) {
    EXPECT_EQ(FindKernels(kernels->name), kernels->supported() ? kernels : nullptr);
  }
  EXPECT_EQ(FindKernels("no such"), nullptr);
  EXPECT_TRUE(BestKernels().supported());
}

TEST(Selection, MeasuresAVariantThatThisMachineHasForEveryArithmetic) {
  for (const Arithmetic arithmetic : {Arithmetic::kFp32, Arithmetic::kInt16, Arithmetic::kInt8}) {
    const Kernels& fastest = FastestKernels(arithmetic);
    EXPECT_TRUE(fastest.supported());
    EXPECT_EQ(fastest.name == "reference", BestKernels().name == "reference") << "slow where others are";
  }
}

}  // namespace
}  // namespace qzo::kernels
