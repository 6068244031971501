// The integer products of the emulated variants; their other ops are those of the variants they extend (x86_vnni.h).
#ifndef QZO_KERNELS_EMULATED_PRODUCTS_H_
#define QZO_KERNELS_EMULATED_PRODUCTS_H_

#include "kernels/kernels.h"

namespace qzo::kernels {

void MatMulRoundedAvxVnniEmulated(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end);
void MatMulRoundedAvx512VnniEmulated(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end);
void MatMulRoundedAmxEmulated(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_EMULATED_PRODUCTS_H_
