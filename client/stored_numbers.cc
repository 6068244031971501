#include "client/stored_numbers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/weights.h"

namespace qzo::client {
namespace {

uint32_t FloatBits(float value) { return std::bit_cast<uint32_t>(value); }

// How a stored number is read, written and bounded.
struct Half {
  using Stored = uint16_t;
  static float Load(Stored stored) { return kernels::HalfToFloat(stored); }
  static Stored Store(float value) { return FloatToHalf(value); }
  static constexpr float kLargest = 65504.0f;
  static constexpr float kSmallestNormal = 0x1p-14f;
};
struct Bf16 {
  using Stored = uint16_t;
  static float Load(Stored stored) { return Bf16ToFloat(stored); }
  static Stored Store(float value) { return FloatToBf16(value); }
  static constexpr float kLargest = 0x1.fep127f;
  static constexpr float kSmallestNormal = 0x1p-126f;
};
struct Single {
  using Stored = uint32_t;
  static float Load(Stored stored) { return std::bit_cast<float>(stored); }
  static Stored Store(float value) { return FloatBits(value); }
  static constexpr float kLargest = 0x1.fffffep127f;
  static constexpr float kSmallestNormal = 0x1p-126f;
};

template <typename Format>
typename Format::Stored Round(double exact, Rounding* rounding) {
  float rounded = Format::Load(Format::Store(static_cast<float>(exact)));
  ++rounding->values;
  if (std::isinf(rounded)) {
    ++rounding->overflowed;
    rounded = std::copysign(Format::kLargest, rounded);
  } else if (exact != 0 && std::fabs(exact) < double{Format::kSmallestNormal}) {
    ++rounding->subnormal;
  } else if (exact != 0) {
    rounding->max_relative_error = std::max(rounding->max_relative_error, std::fabs(double{rounded} / exact - 1));
  }
  return Format::Store(rounded);
}

// Replaces the number at `at` by exact(number).
template <typename Format, typename Exact>
void ReplaceAt(char* at, Rounding* rounding, const Exact& exact) {
  typename Format::Stored stored;
  std::memcpy(&stored, at, sizeof stored);
  stored = Round<Format>(exact(double{Format::Load(stored)}), rounding);
  std::memcpy(at, &stored, sizeof stored);
}

template <typename Exact>
void Replace(Number number, char* at, Rounding* rounding, const Exact& exact) {
  switch (number) {
    case Number::kF32:
      return ReplaceAt<Single>(at, rounding, exact);
    case Number::kF16:
      return ReplaceAt<Half>(at, rounding, exact);
    case Number::kBF16:
      return ReplaceAt<Bf16>(at, rounding, exact);
  }
}

}  // namespace

uint16_t FloatToHalf(float value) {
  const uint32_t bits = FloatBits(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7E00;
  if (magnitude >= 0x477FF000) return sign | 0x7C00;  // from 65520 on, half way to the next power, ties to even go up
  if (magnitude < 0x38800000) {  // below 2^-14: adding 1/2 shifts the bits into place and rounds them
    return sign | static_cast<uint16_t>(FloatBits(std::bit_cast<float>(magnitude) + 0.5f) - FloatBits(0.5f));
  }
  const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded - 0x38000000) >> 13);
}

uint16_t FloatToBf16(float value) {
  const uint32_t bits = FloatBits(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float Bf16ToFloat(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }

void MultiplyStored(Number number, float multiplier, char* at, Rounding* rounding) {
  Replace(number, at, rounding, [multiplier](double stored) { return double{multiplier} * stored; });
}

void AddStored(Number number, float delta, char* at, Rounding* rounding) {
  Replace(number, at, rounding, [delta](double stored) { return stored + double{delta}; });
}

uint16_t MultiplyHalf(float multiplier, uint16_t half, Rounding* rounding) {
  return Round<Half>(double{multiplier} * double{Half::Load(half)}, rounding);
}

}  // namespace qzo::client
