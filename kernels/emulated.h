// Variants whose instructions are emulated, for machines that lack them: tests only. They are the variants' own text,
// but for the instructions, which are SIMDe's or plain code (emulated_intrinsics.h).
#ifndef QZO_KERNELS_EMULATED_H_
#define QZO_KERNELS_EMULATED_H_

#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace qzo::kernels {

std::span<const Kernels* const> EmulatedKernels();

// What is compiled in, and what is emulated.
inline std::vector<const Kernels*> EveryKernels() {
  std::vector<const Kernels*> every(AllKernels().begin(), AllKernels().end());
  every.insert(every.end(), EmulatedKernels().begin(), EmulatedKernels().end());
  return every;
}

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_EMULATED_H_
