// The one op in which the variant with dot product instructions differs from the one it extends.
#ifndef QZO_KERNELS_ARM_NEONDOT_H_
#define QZO_KERNELS_ARM_NEONDOT_H_

#include "kernels/kernels.h"

namespace qzo::kernels {

void MatMulRoundedNeonDot(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_ARM_NEONDOT_H_
