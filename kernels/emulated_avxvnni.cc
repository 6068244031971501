// The text of x86_avxvnni.cc with instructions in plain code.
#define QZO_EMULATED_INSTRUCTIONS
#define QZO_VEC_HEADER "kernels/vec_avx2.h"
#define QZO_DOT_HEADER "kernels/dot_avxvnni.h"
#include "kernels/emulated_products.h"
#include "kernels/simd_dots.h"

namespace qzo::kernels {

void MatMulRoundedAvxVnniEmulated(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  MatMulRounded(args, n_begin, n_end);
}

}  // namespace qzo::kernels
