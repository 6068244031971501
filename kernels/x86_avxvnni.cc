// Compiled with -mavxvnni and the options of x86_avx2.cc, whose other ops this variant shares.
#define QZO_VEC_HEADER "kernels/vec_avx2.h"
#define QZO_DOT_HEADER "kernels/dot_avxvnni.h"
#include "kernels/simd_dots.h"
#include "kernels/x86_vnni.h"

namespace qzo::kernels {

void MatMulRoundedAvxVnni(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  MatMulRounded(args, n_begin, n_end);
}

}  // namespace qzo::kernels
