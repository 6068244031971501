#include "worker/process.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/cgroup.h"

namespace qzo::worker {

int64_t PeakResidentBytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

int64_t AvailableMemoryBytes() {
  const int64_t bytes = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  return std::min(bytes, base::ReadCgroupLimits().memory_bytes.value_or(bytes));
}

std::string Hostname() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

}  // namespace qzo::worker
