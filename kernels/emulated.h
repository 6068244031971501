// Variants whose instructions are emulated, for machines that lack them: tests only. Their matrix products are the
// variant's own text; the other ops are the reference's.
#ifndef QZO_KERNELS_EMULATED_H_
#define QZO_KERNELS_EMULATED_H_

#include <span>

#include "kernels/kernels.h"

namespace qzo::kernels {

std::span<const Kernels* const> EmulatedKernels();

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_EMULATED_H_
