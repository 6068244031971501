// Numbers as model files store them: reading, rounding, and multiplying them in place. Pure; thread-safe.
#ifndef QZO_CLIENT_STORED_NUMBERS_H_
#define QZO_CLIENT_STORED_NUMBERS_H_

#include <cstdint>

namespace qzo::client {

// IEEE binary32 to binary16 and bfloat16, to nearest even; what is too large becomes infinite, NaN stays one.
uint16_t FloatToHalf(float value);
uint16_t FloatToBf16(float value);
float Bf16ToFloat(uint16_t value);

// What storing k · scale, or a weight + delta, in the file's own precision did to the results.
struct Rounding {
  int64_t values = 0;             // results stored: scales and minima of blocks, values of plain tensors
  int64_t overflowed = 0;         // beyond the type's largest number, which was stored instead
  int64_t subnormal = 0;          // below its smallest normal number: fewer digits
  double max_relative_error = 0;  // of the results that are neither
};

enum class Number { kF32, kF16, kBF16 };

// Multiplies the number stored at `at`, which has any alignment, and rounds the product to nearest even.
void MultiplyStored(Number number, float multiplier, char* at, Rounding* rounding);
// The same of a sum.
void AddStored(Number number, float delta, char* at, Rounding* rounding);
// Of an IEEE half.
uint16_t MultiplyHalf(float multiplier, uint16_t half, Rounding* rounding);

}  // namespace qzo::client

#endif  // QZO_CLIENT_STORED_NUMBERS_H_
