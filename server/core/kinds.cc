#include "server/core/kinds.h"

#include <cmath>

namespace qzo::server::core {
namespace {

constexpr double kDeviations = 4, kLargestLogit = 32, kProductsPerLayer = 7, kLossOfLogits = 4;

struct Precision {
  std::string_view arithmetic;  // how the names of its kinds begin
  double u;
};
// int16, int8: half a unit of the last place of a block's largest value. fp32: what sums over thousands of terms lose.
constexpr Precision kPrecisions[] = {
    {"fp32-", 0x1p-20}, {"int16-", 0x1p-15}, {"int8-", 0x1p-7}, {"cuda-bf16-", 0x1p-8}};

std::optional<double> PrecisionOf(std::string_view kind) {
  for (const Precision& precision : kPrecisions) {
    if (kind.starts_with(precision.arithmetic)) return precision.u;
  }
  return std::nullopt;
}

}  // namespace

std::optional<double> LossTolerance(std::string_view a, std::string_view b, size_t layers) {
  const std::optional<double> u = PrecisionOf(a), v = PrecisionOf(b);
  if (!u || !v || layers == 0) return std::nullopt;
  return kLossOfLogits * kDeviations * kLargestLogit * (*u + *v) *
         std::sqrt(kProductsPerLayer * static_cast<double>(layers));
}

}  // namespace qzo::server::core
