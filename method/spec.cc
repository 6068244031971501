#include "method/spec.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace qzo::method {
namespace {

// (1 + cos(π x)) / 2 for x in [0, 1]. Not std::cos: verification compares coefficients bit for bit, on whatever libm.
// Taylor's series, from whose 12 terms nothing is missing at this precision.
double HalfCosine(double x) {
  const bool second_half = x > 0.5;
  const double angle = std::numbers::pi * (second_half ? 1 - x : x);
  double term = 1, sum = 1;
  for (int i = 1; i <= 12; ++i) {
    term *= -angle * angle / ((2 * i - 1) * (2 * i));
    sum += term;
  }
  return second_half ? 0.5 * (1 - sum) : 0.5 * (1 + sum);
}

}  // namespace

absl::Status MethodSpec::Validate() const {
  std::vector<std::string> errors;
  const auto require = [&](bool holds, const char* field, auto found, const char* expected) {
    if (!holds) errors.push_back(absl::StrCat("method.", field, ": ", found, ", expected ", expected));
  };
  require(steps >= 1 && steps <= 10'000'000, "steps", steps, "1 to 10000000");
  require(probes >= 1 && probes <= 64, "probes", probes, "1 to 64");
  require(batch_size >= 1 && batch_size <= 65'536, "batch_size", batch_size, "1 to 65536");
  require(micro_batches >= 1 && batch_size % micro_batches == 0, "micro_batches", micro_batches,
          "a divisor of batch_size");
  require(items() <= 4096, "probes x micro_batches", items(), "at most 4096 items a step");
  require(std::isfinite(epsilon) && epsilon > 0 && epsilon <= 1, "epsilon", epsilon, "above 0, at most 1");
  require(std::isfinite(learning_rate) && learning_rate >= 0, "learning_rate", learning_rate,
          "a finite number of at least 0");
  require(warmup_ratio >= 0 && warmup_ratio <= 1, "warmup_ratio", warmup_ratio, "0 to 1");
  require(std::isfinite(clip) && clip > 0, "clip", clip, "a finite number above 0");
  require(std::isfinite(delta_unit) && delta_unit > 0, "delta_unit", delta_unit, "a finite number above 0");
  if (errors.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
}

double LearningRate(const MethodSpec& spec, uint32_t step) {
  const double warmup = std::floor(spec.warmup_ratio * spec.steps);
  if (step < warmup) return spec.learning_rate * (step + 1) / warmup;
  const double left = spec.steps - warmup;
  const double progress = left > 0 ? (step - warmup) / left : 0;
  switch (spec.schedule) {
    case Schedule::kConstant:
      return spec.learning_rate;
    case Schedule::kLinear:
      return spec.learning_rate * (1 - progress);
    case Schedule::kCosine:
      return spec.learning_rate * HalfCosine(progress);
  }
  return 0;
}

}  // namespace qzo::method
