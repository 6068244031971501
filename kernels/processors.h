// The CPU quota part of AvailableProcessors(), apart so that it can be tested. Pure.
#ifndef QZO_KERNELS_PROCESSORS_H_
#define QZO_KERNELS_PROCESSORS_H_

#include <optional>

namespace qzo::kernels {

// Of `present` processors those that a quota of CPU time grants: rounded down, because a throttled thread stalls all
// the others, but at least 1.
int WholeProcessors(int present, std::optional<double> quota);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_PROCESSORS_H_
