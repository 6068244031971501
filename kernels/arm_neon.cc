// The variants of AArch64. NEON is part of it; the dot product instruction is not.
#define QZO_VEC_HEADER "kernels/vec_neon.h"
#define QZO_DOT_HEADER "kernels/dot_neon.h"
#include <sys/auxv.h>

#include "kernels/arm_neondot.h"
#include "kernels/simd_body.h"

namespace qzo::kernels {
namespace {

bool CpuHasDotProducts() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }

}  // namespace

extern const Kernels kNeonKernels, kNeonDotKernels;
constinit const Kernels kNeonKernels = MakeKernels(
    "neon", [] { return true; }, MatMulRounded);
constinit const Kernels kNeonDotKernels = MakeKernels("neondot", CpuHasDotProducts, MatMulRoundedNeonDot);

}  // namespace qzo::kernels
