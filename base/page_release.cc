#include "base/page_release.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "base/digest.h"

namespace qzo::base {

void ReleasePages(std::string_view mapped) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t before = -reinterpret_cast<uintptr_t>(mapped.data()) % page;  // of a page that begins earlier
  if (mapped.size() < before + page) return;
  mapped.remove_prefix(before);
  // It cannot fail for a mapping of a file, and nothing depends on it.
  madvise(const_cast<char*>(mapped.data()), mapped.size() / page * page, MADV_DONTNEED);
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
