// The text of x86_avx512vnni.cc with the registers and instructions of emulated_intrinsics.h.
#define QZO_VEC_HEADER "kernels/vec_avx512.h"
#define QZO_DOT_HEADER "kernels/dot_avx512vnni.h"
#include "kernels/emulated_intrinsics.h"
// What follows takes its intrinsics from there.
#include "kernels/emulated_products.h"
#include "kernels/simd_dots.h"

namespace qzo::kernels {

void MatMulRoundedAvx512VnniEmulated(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  MatMulRounded(args, n_begin, n_end);
}

}  // namespace qzo::kernels
