#include "model/graph/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/exact_math.h"

namespace qzo::model {
namespace {

// 1 where a frequency stays, 0 where it is divided by the factor.
std::vector<double> Llama3Shares(int rotary_dim, const Rope& rope) {
  std::vector<double> shares;
  shares.reserve(static_cast<size_t>(rotary_dim / 2));
  for (int i = 0; i < rotary_dim / 2; ++i) {
    const double turns_per_position = kernels::Pow(double{rope.base}, -2.0 * i / rotary_dim) / (2 * std::numbers::pi);
    const double turns = rope.context * turns_per_position;
    shares.push_back(std::clamp((turns - rope.low) / (rope.high - rope.low), 0.0, 1.0));
  }
  return shares;
}

// YaRN, appendix A.2: the ramp runs between the whole i around those that turn `high` and `low` times.
std::vector<double> YarnShares(int rotary_dim, const Rope& rope) {
  const auto turning = [&](double turns) {
    return rotary_dim * kernels::Log(rope.context / (turns * 2 * std::numbers::pi)) /
           (2 * kernels::Log(double{rope.base}));
  };
  const double first = std::max(std::floor(turning(rope.high)), 0.0);
  const double last = std::min(std::ceil(turning(rope.low)), rotary_dim - 1.0);
  std::vector<double> shares;
  shares.reserve(static_cast<size_t>(rotary_dim / 2));
  for (int i = 0; i < rotary_dim / 2; ++i) {
    shares.push_back(1 - std::clamp((i - first) / std::max(last - first, 0.001), 0.0, 1.0));
  }
  return shares;
}

}  // namespace

std::vector<float> RopeDivisors(const ModelInfo& info, const Rope& rope) {
  const auto count = static_cast<size_t>(info.rotary_dim / 2);
  if (rope.scaling == RopeScaling::kLinear) return std::vector<float>(count, static_cast<float>(rope.factor));
  if (rope.scaling != RopeScaling::kLlama3 && rope.scaling != RopeScaling::kYarn) return rope.divisors;
  const bool yarn = rope.scaling == RopeScaling::kYarn;
  std::vector<float> made;
  for (const double share : yarn ? YarnShares(info.rotary_dim, rope) : Llama3Shares(info.rotary_dim, rope)) {
    made.push_back(static_cast<float>(1 / ((1 - share) / rope.factor + share)));
  }
  return made;
}

double RopeMagnitude(const Rope& rope) {
  if (rope.magnitude != 0) return rope.magnitude;
  if (rope.factor <= 1) return 1;
  if (rope.scaling == RopeScaling::kYarn) return 0.1 * kernels::Log(rope.factor) + 1;
  if (rope.scaling != RopeScaling::kLongRope) return 1;
  return std::sqrt(1 + kernels::Log(rope.factor) / kernels::Log(rope.context));
}

kernels::RopeTable MakeRopeTable(const ModelInfo& info, const Rope& rope, absl::Span<const float> divisors,
                                 absl::Span<const float> long_divisors) {
  const std::vector<float> made = RopeDivisors(info, rope);
  if (divisors.empty()) divisors = made;
  if (long_divisors.empty()) long_divisors = rope.long_divisors;
  const auto table = [&](int64_t positions, absl::Span<const float> by) {
    return kernels::BuildRopeTable(positions, info.rotary_dim, double{rope.base}, {by.data(), by.size()},
                                   RopeMagnitude(rope));
  };
  if (rope.scaling != RopeScaling::kLongRope || info.context_length <= rope.context) {
    return table(info.context_length, divisors);
  }
  kernels::RopeTable both = table(rope.context, divisors);
  const kernels::RopeTable of_long = table(info.context_length, long_divisors);
  both.cos.insert(both.cos.end(), of_long.cos.begin(), of_long.cos.end());
  both.sin.insert(both.sin.end(), of_long.sin.begin(), of_long.sin.end());
  return both;
}

}  // namespace qzo::model
