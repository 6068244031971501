#include "base/page_release.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace qzo::base {

void ReleasePages(std::string_view mapped) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(mapped.data());
  const uintptr_t begin = (address + page - 1) / page * page, end = (address + mapped.size()) / page * page;
  // It cannot fail for a mapping of a file, and nothing depends on it.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace qzo::base
