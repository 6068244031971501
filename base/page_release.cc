#include "base/page_release.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "base/digest.h"

namespace qzo::base {

void ReleasePages(std::string_view mapped) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(mapped.data());
  const uintptr_t begin = (address + page - 1) / page * page, end = (address + mapped.size()) / page * page;
  // It cannot fail for a mapping of a file, and nothing depends on it.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string Sha256HexOf(const MappedFile& file) {
  constexpr size_t kPiece = size_t{8} << 20;
  Sha256Stream digest;
  for (std::string_view rest = file.bytes(); !rest.empty(); rest.remove_prefix(std::min(kPiece, rest.size()))) {
    const std::string_view piece = rest.substr(0, kPiece);
    digest.Update(piece);
    ReleasePages(piece);
  }
  return digest.FinishHex();
}

}  // namespace qzo::base
