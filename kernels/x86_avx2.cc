// Compiled with -mavx2 -mfma -mf16c (CMakeLists.txt): only code of this file's anonymous namespace may use them.
#define QZO_VEC_HEADER "kernels/vec_avx2.h"
#define QZO_DOT_HEADER "kernels/dot_avx2.h"
#include "kernels/simd_body.h"
#include "kernels/x86_cpu.h"
#include "kernels/x86_vnni.h"

namespace qzo::kernels {

extern const Kernels kAvx2Kernels, kAvxVnniKernels;
constinit const Kernels kAvx2Kernels = MakeKernels("avx2", CpuHasAvx2, MatMulRounded);
constinit const Kernels kAvxVnniKernels = MakeKernels("avxvnni", CpuHasAvxVnni, MatMulRoundedAvxVnni);

}  // namespace qzo::kernels
