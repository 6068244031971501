// Plain decoding of stored weights: the truth that SIMD decoding is held to. Pure and thread-safe.
#ifndef QZO_KERNELS_WEIGHTS_H_
#define QZO_KERNELS_WEIGHTS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace qzo::kernels {

// IEEE binary16 to binary32, exact; a signalling NaN becomes quiet, as in hardware.
float HalfToFloat(uint16_t half);

// 32 values of a quantized row: value i = fma(scale[i / 16], codes[i], minimum[i / 16]). The product is exact in fp32,
// given scales of at most half precision.
// Types without a minimum have −0 there, which adds nothing to any number, −0 included. Both halves are alike unless
// scale groups are of 16.
struct CodeBlock {
  int8_t codes[32];
  float scale[2];
  float minimum[2];
};

// Values [first_value, first_value + 32) of the row that begins at `row`; first_value is a multiple of 32. Not for
// plain types nor those with a codebook.
void DecodeCodes(WeightType type, const std::byte* row, int64_t first_value, CodeBlock* out);

// Whether blocks of a type that SupportsRounded takes store a minimum; their codes are then 0 … 127.
bool HasMinimum(WeightType type);

// The type of packed codes of 2, 3, 4 or 8 bits in blocks of 128 (`wide`) or 32.
WeightType PackedType(int bits, bool wide);
// Writes values [first_value, first_value + 32) of a row of such a type, scale · (code − zero), and the scale and zero
// of their block. Codes are below 2^bits; zero is 0 … 2^bits; the scale is a value of F16 or BF16.
void EncodeCodes(WeightType type, float scale, int zero, const uint8_t* codes, int64_t first_value, std::byte* row);

// out[0 … 32) = values [first_value, first_value + 32) of a row of a type with a codebook, each scale · entry, or
// scale · (entry + entry) of two codebooks; first_value is a multiple of 32.
void DecodeEntries(const WeightMatrix& w, int64_t row, int64_t first_value, float* out);

// out[0 … cols) = row `row` of w, decoded.
void DequantizeRow(const WeightMatrix& w, int64_t row, float* out);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_WEIGHTS_H_
