#include "kernels/processors.h"

#include <sched.h>

#include <algorithm>

#include "base/cgroup.h"
#include "kernels/thread_pool.h"

namespace qzo::kernels {
namespace {

int AffinityProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  // More processors than cpu_set_t holds: ask with the largest mask that Linux can be built for.
  constexpr int kMaxProcessors = 8192;
  cpu_set_t* large = CPU_ALLOC(kMaxProcessors);
  const size_t bytes = CPU_ALLOC_SIZE(kMaxProcessors);
  const int count = sched_getaffinity(0, bytes, large) == 0 ? CPU_COUNT_S(bytes, large) : 1;
  CPU_FREE(large);
  return count;
}

}  // namespace

int AvailableProcessors() {
  return WholeProcessors(std::max(1, AffinityProcessors()), base::ReadCgroupLimits().processors);
}

int WholeProcessors(int present, std::optional<double> quota) {
  if (!quota || *quota >= present) return present;
  return std::max(1, static_cast<int>(*quota));
}

}  // namespace qzo::kernels
