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

void AppendNibbles(const int* codes, std::string* out) {
  for (size_t i = 0; i < kBlock / 2; ++i) out->push_back(static_cast<char>(codes[i] | codes[i + kBlock / 2] << 4));
}

// The value of the largest magnitude has the code −8.
void AppendQ4WithoutMinimum(absl::Span<const float> values, std::string* out) {
  float extreme = 0;
  for (const float value : values) extreme = std::fabs(value) > std::fabs(extreme) ? value : extreme;
  const float scale = AppendHalf(extreme / -8, out);
  int codes[kBlock];
  for (size_t i = 0; i < kBlock; ++i) codes[i] = Code(values[i], scale, -8, 7) + 8;
  AppendNibbles(codes, out);
}

void AppendQ4(absl::Span<const float> values, std::string* out) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const float scale = AppendHalf((*high - *low) / 15, out);
  const float minimum = AppendHalf(*low, out);
  int codes[kBlock];
  for (size_t i = 0; i < kBlock; ++i) codes[i] = Code(values[i] - minimum, scale, 0, 15);
  AppendNibbles(codes, out);
}

}  // namespace

void AppendRow(model::GgmlType type, absl::Span<const float> row, std::string* out) {
  if (type == model::GgmlType::kF16) {
    for (const float value : row) AppendHalf(value, out);
    return;
  }
  if (type == model::GgmlType::kF32) {
    out->append(reinterpret_cast<const char*>(row.data()), row.size() * sizeof(float));
    return;
  }
  QZO_CHECK(row.size() % kBlock == 0);
  for (; !row.empty(); row.remove_prefix(kBlock)) {
    if (type == model::GgmlType::kQ8_0) {
      AppendQ8(row.first(kBlock), out);
    } else if (type == model::GgmlType::kQ4_0) {
      AppendQ4WithoutMinimum(row.first(kBlock), out);
    } else {
      QZO_CHECK(type == model::GgmlType::kQ4_1);
      AppendQ4(row.first(kBlock), out);
    }
  }
}

bool AppendCodes(model::GgmlType type, const kernels::CodeBlock& block, std::string* out) {
  const float scale = block.scale[0];
  if (block.scale[1] != scale || block.minimum[0] != 0 || block.minimum[1] != 0) return false;
  if (kernels::HalfToFloat(FloatToHalf(scale)) != scale) return false;
  const auto [low, high] = std::minmax_element(block.codes, block.codes + kBlock);
  if (type == model::GgmlType::kQ8_0) {
    AppendHalf(scale, out);
    out->append(reinterpret_cast<const char*>(block.codes), kBlock);
    return true;
  }
  const bool centred = type == model::GgmlType::kQ4_0;
  if (!centred && type != model::GgmlType::kQ4_1) return false;
  if (centred ? *low < -8 || *high > 7 : *high - *low > 15) return false;
  const int zero = centred ? -8 : *low;
  AppendHalf(scale, out);
  if (!centred) AppendHalf(scale * static_cast<float>(zero), out);
  int codes[kBlock];
  for (size_t i = 0; i < kBlock; ++i) codes[i] = block.codes[i] - zero;
  AppendNibbles(codes, out);
  return true;
}

}  // namespace qzo::client
