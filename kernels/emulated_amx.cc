// The tiles of x86_amx.cc, for every number of rows, with the registers and instructions of emulated_intrinsics.h and
// dot_amx_emulated.h.
#define QZO_VEC_HEADER "kernels/vec_avx512.h"
#define QZO_DOT_HEADER "kernels/dot_amx_emulated.h"
#include "kernels/emulated_intrinsics.h"
// What follows takes its intrinsics from there.
#include "kernels/emulated_products.h"
#include "kernels/simd_amx.h"

namespace qzo::kernels {

void MatMulRoundedAmxEmulated(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  RoundedMatMul<AmxTiles>(args, n_begin, n_end);
}

}  // namespace qzo::kernels
