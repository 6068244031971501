// How large the codes of a weight type are: what integer products may add up before they need 32 bits.
#ifndef QZO_KERNELS_CODE_RANGE_H_
#define QZO_KERNELS_CODE_RANGE_H_

#include "kernels/kernels.h"

namespace qzo::kernels {

// Whether all codes that DecodeCodes gives are within −16 … 16. Two partial sums of a block's 32 products with
// activations of 8 bits then fit 16 bits: 16 · 127 · 16 < 2^15.
bool HasSmallCodes(WeightType type);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_CODE_RANGE_H_
