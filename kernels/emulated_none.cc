#include "kernels/emulated.h"

namespace qzo::kernels {

std::span<const Kernels* const> EmulatedKernels() { return {}; }

}  // namespace qzo::kernels
