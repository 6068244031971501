// simd_amx.h over emulated tile registers, with panels as wide as those of x86_amx.cc. Compiled as x86_avx2.cc is.
#define QZO_VEC_HEADER "kernels/vec_avx2.h"
#define QZO_DOT_HEADER "kernels/dot_amx_emulated.h"
#define QZO_TILE_VECTORS 2
#include "kernels/emulated.h"
#include "kernels/simd_amx.h"
#include "kernels/x86_cpu.h"

namespace qzo::kernels {
namespace {

void MatMulRounded(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  RoundedMatMul<AmxTiles>(args, n_begin, n_end);
}

}  // namespace

std::span<const Kernels* const> EmulatedKernels() {
  static const Kernels amx = [] {
    Kernels kernels = *AllKernels().front();
    kernels.name = "amx_emulated";
    kernels.supported = CpuHasAvx2;
    kernels.matmul_rounded = MatMulRounded;
    return kernels;
  }();
  static const Kernels* const all[] = {&amx};
  return all;
}

}  // namespace qzo::kernels
