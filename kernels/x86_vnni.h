// The one op in which the VNNI and AMX variants differ from those they extend.
#ifndef QZO_KERNELS_X86_VNNI_H_
#define QZO_KERNELS_X86_VNNI_H_

#include "kernels/kernels.h"

namespace qzo::kernels {

void MatMulRoundedAvxVnni(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end);
void MatMulRoundedAvx512Vnni(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end);
void MatMulRoundedAmx(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_X86_VNNI_H_
