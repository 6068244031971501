// The CPU quota part of AvailableProcessors(), apart so that it can be tested. Pure.
#ifndef QZO_KERNELS_PROCESSORS_H_
#define QZO_KERNELS_PROCESSORS_H_

#include <string_view>

namespace qzo::kernels {

// Whole processors that the text of a cgroup v2 cpu.max file ("max 100000", "150000 100000") grants, rounded down but
// at least 1; `unlimited` when it sets no limit or cannot be read. Down, because a throttled thread stalls all the
// others.
int ProcessorsOfCpuMax(std::string_view cpu_max, int unlimited);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_PROCESSORS_H_
