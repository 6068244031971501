// Compiled with -mavx512vnni and the options of x86_avx512.cc, whose other ops this variant shares.
#define QZO_VEC_HEADER "kernels/vec_avx512.h"
#define QZO_DOT_HEADER "kernels/dot_avx512vnni.h"
#include "kernels/simd_dots.h"
#include "kernels/x86_vnni.h"

namespace qzo::kernels {

void MatMulRoundedAvx512Vnni(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  MatMulRounded(args, n_begin, n_end);
}

}  // namespace qzo::kernels
