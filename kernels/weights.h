// Plain decoding of stored weights: the truth that SIMD decoding is held to. Pure and thread-safe.
#ifndef QZO_KERNELS_WEIGHTS_H_
#define QZO_KERNELS_WEIGHTS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace qzo::kernels {

// IEEE binary16 to binary32, exact; a signalling NaN becomes quiet, as in hardware.
float HalfToFloat(uint16_t half);

// out[0 … cols) = row `row` of w, decoded.
void DequantizeRow(const WeightMatrix& w, int64_t row, float* out);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_WEIGHTS_H_
