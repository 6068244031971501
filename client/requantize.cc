#include "client/requantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/log.h"
#include "client/stored_numbers.h"
#include "kernels/weights.h"

namespace qzo::client {
namespace {

constexpr size_t kBlock = 32;

float AppendHalf(float value, std::string* out) {
  const uint16_t half = FloatToHalf(value);
  out->append(reinterpret_cast<const char*>(&half), sizeof half);
  return kernels::HalfToFloat(half);
}

// The code nearest to value / scale.
int Code(float value, float scale, int low, int high) {
  return scale == 0 ? std::max(low, 0)
                    : static_cast<int>(
                          std::clamp(std::round(value / scale), static_cast<float>(low), static_cast<float>(high)));
}

void AppendQ8(absl::Span<const float> values, std::string* out) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  const float scale = AppendHalf(largest / 127, out);
  for (const float value : values) out->push_back(static_cast<char>(Code(value, scale, -127, 127)));
}

void AppendQ4(absl::Span<const float> values, std::string* out) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const float scale = AppendHalf((*high - *low) / 15, out);
  const float minimum = AppendHalf(*low, out);
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const int first = Code(values[i] - minimum, scale, 0, 15);
    const int second = Code(values[i + kBlock / 2] - minimum, scale, 0, 15);
    out->push_back(static_cast<char>(first | second << 4));
  }
}

}  // namespace

void AppendRow(model::GgmlType type, absl::Span<const float> row, std::string* out) {
  if (type == model::GgmlType::kF16) {
    for (const float value : row) AppendHalf(value, out);
    return;
  }
  QZO_CHECK(type == model::GgmlType::kQ8_0 || type == model::GgmlType::kQ4_1);
  QZO_CHECK(row.size() % kBlock == 0);
  for (; !row.empty(); row.remove_prefix(kBlock)) {
    type == model::GgmlType::kQ8_0 ? AppendQ8(row.first(kBlock), out) : AppendQ4(row.first(kBlock), out);
  }
}

}  // namespace qzo::client
