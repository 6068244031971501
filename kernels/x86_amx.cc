// Compiled with -mamx-tile -mamx-int8 and the options of x86_avx512.cc, whose other ops this variant shares.
#define QZO_VEC_HEADER "kernels/vec_avx512.h"
#define QZO_DOT_HEADER "kernels/dot_amx.h"
#include "kernels/simd_amx.h"
#include "kernels/x86_vnni.h"

namespace qzo::kernels {

void MatMulRoundedAmx(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  // Decoding and expanding a panel pays off over the rows of a whole tile: below that, and so for generation, the other
  // instructions are as good.
  const int64_t rows = args.lanes.empty() ? 0 : args.lanes.back().end;
  if (rows < AmxTiles<true, true, 1>::kRows) return MatMulRoundedAvx512Vnni(args, n_begin, n_end);
  RoundedMatMul<AmxTiles>(args, n_begin, n_end);
}

}  // namespace qzo::kernels
