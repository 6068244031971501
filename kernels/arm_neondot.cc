// Compiled with the dot product instruction (CMakeLists.txt): nothing in here may be shared with other files.
#define QZO_VEC_HEADER "kernels/vec_neon.h"
#define QZO_DOT_HEADER "kernels/dot_neon.h"
#include "kernels/arm_neondot.h"

#include "kernels/simd_dots.h"

namespace qzo::kernels {

void MatMulRoundedNeonDot(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  MatMulRounded(args, n_begin, n_end);
}

}  // namespace qzo::kernels
