#include "method/rule.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace qzo::method {
namespace {

constexpr double kDecay = 0.95;
constexpr double kNormalizedClip = 3;

}  // namespace

float ProjectedGradient(absl::Span<const ItemLosses> items_of_probe, float epsilon) {
  double plus = 0, minus = 0;
  int64_t count = 0;
  for (const ItemLosses& item : items_of_probe) {
    plus += item.plus;
    minus += item.minus;
    count += item.count;
  }
  const double d = (plus - minus) / (2.0 * static_cast<double>(epsilon) * static_cast<double>(count));
  const float rounded = static_cast<float>(d);
  return std::isfinite(rounded) ? rounded : std::numeric_limits<float>::quiet_NaN();
}

double MeanLoss(absl::Span<const ItemLosses> items) {
  double sum = 0;
  int64_t count = 0;
  for (const ItemLosses& item : items) {
    if (!std::isfinite(item.plus) || !std::isfinite(item.minus)) continue;
    sum += item.plus + item.minus;
    count += 2 * item.count;
  }
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

std::vector<float> Coefficients(const MethodSpec& spec, uint32_t step, absl::Span<const float> d, RuleState* state) {
  double sum = 0;
  int finite = 0;
  for (const float value : d) {
    if (!std::isfinite(value)) continue;
    sum += static_cast<double>(value) * static_cast<double>(value);
    ++finite;
  }
  const double m = finite > 0 ? sum / finite : 0;
  if (state->mean_square > 0 && finite > 0) {
    state->mean_square = kDecay * state->mean_square + (1 - kDecay) * m;
  } else if (m > 0) {
    state->mean_square = m;
  }
  const double rate = LearningRate(spec, step);
  const double sigma = std::sqrt(state->mean_square);
  std::vector<float> coefficients;
  coefficients.reserve(d.size());
  for (const float value : d) {
    double c = 0;
    if (std::isfinite(value)) {
      if (spec.rule == Rule::kClip) {
        c = rate * std::clamp<double>(value, -spec.clip, spec.clip);
      } else if (sigma > 0) {
        c = rate * std::clamp(value / sigma, -kNormalizedClip, kNormalizedClip);
      }
    }
    coefficients.push_back(static_cast<float>(c));
  }
  return coefficients;
}

}  // namespace qzo::method
