// Gives back memory that is mapped from files.
#ifndef QZO_BASE_PAGE_RELEASE_H_
#define QZO_BASE_PAGE_RELEASE_H_

#include <string>
#include <string_view>

#include "base/fs.h"

namespace qzo::base {

// Takes the pages that lie wholly in `mapped`, a part of a MappedFile, out of the process's resident set; whoever reads
// them again gets them from the file. Thread-safe.
void ReleasePages(std::string_view mapped);

// SHA-256 of the file, as Sha256Hex gives it. Holds some megabytes of it at a time, so that the digest of a model does
// not take its memory.
std::string Sha256HexOf(const MappedFile& file);

}  // namespace qzo::base

#endif  // QZO_BASE_PAGE_RELEASE_H_
