// Compiled with -mavx512{f,bw,vl,dq} as well (CMakeLists.txt): only code of this file's anonymous namespace may use
// them.
#define QZO_VEC_HEADER "kernels/vec_avx512.h"
#define QZO_DOT_HEADER "kernels/dot_avx512.h"
#include "kernels/simd_body.h"
#include "kernels/x86_cpu.h"
#include "kernels/x86_vnni.h"

namespace qzo::kernels {

extern const Kernels kAvx512Kernels, kAvx512VnniKernels, kAmxKernels;
constinit const Kernels kAvx512Kernels = MakeKernels("avx512", CpuHasAvx512, MatMulRounded);
constinit const Kernels kAvx512VnniKernels = MakeKernels("avx512vnni", CpuHasAvx512Vnni, MatMulRoundedAvx512Vnni);
constinit const Kernels kAmxKernels = MakeKernels("amx", CpuHasAmx, MatMulRoundedAmx);

}  // namespace qzo::kernels
