// Which variant to run: measured, for the fastest instruction set is not the widest one on every processor.
#ifndef QZO_KERNELS_FASTEST_H_
#define QZO_KERNELS_FASTEST_H_

#include "kernels/kernels.h"

namespace qzo::kernels {

// The supported variant whose matrix products take the least time: some milliseconds of measuring on the calling
// thread. All of them give the same bits, so a wrong choice on a busy machine costs speed only.
const Kernels& FastestKernels(Arithmetic arithmetic);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_FASTEST_H_
