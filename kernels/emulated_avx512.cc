// The text of x86_avx512.cc with the registers and instructions of emulated_intrinsics.h, and the list of all that is
// emulated.
#define QZO_VEC_HEADER "kernels/vec_avx512.h"
#define QZO_DOT_HEADER "kernels/dot_avx512.h"
#include "kernels/emulated_intrinsics.h"
// What follows takes its intrinsics from there.
#include "kernels/emulated.h"
#include "kernels/emulated_products.h"
#include "kernels/simd_body.h"
#include "kernels/x86_cpu.h"

namespace qzo::kernels {

extern const Kernels kAvx2Kernels;

std::span<const Kernels* const> EmulatedKernels() {
  static constexpr Kernels kAvx512 = MakeKernels("avx512_emulated", CpuHasAvx2, MatMulRounded);
  static constexpr Kernels kAvx512Vnni =
      MakeKernels("avx512vnni_emulated", CpuHasAvx2, MatMulRoundedAvx512VnniEmulated);
  static constexpr Kernels kAmx = MakeKernels("amx_emulated", CpuHasAvx2, MatMulRoundedAmxEmulated);
  static const Kernels avxvnni = [] {
    Kernels kernels = kAvx2Kernels;
    kernels.name = "avxvnni_emulated";
    kernels.matmul_rounded = MatMulRoundedAvxVnniEmulated;
    return kernels;
  }();
  static const Kernels* const all[] = {&avxvnni, &kAvx512, &kAvx512Vnni, &kAmx};
  return all;
}

}  // namespace qzo::kernels
