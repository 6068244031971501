// Gives back memory that is mapped from files.
#ifndef QZO_BASE_PAGE_RELEASE_H_
#define QZO_BASE_PAGE_RELEASE_H_

#include <string_view>

namespace qzo::base {

// Takes the pages that lie wholly in `mapped`, a part of a MappedFile, out of the process's resident set; whoever reads
// them again gets them from the file. Thread-safe.
void ReleasePages(std::string_view mapped);

}  // namespace qzo::base

#endif  // QZO_BASE_PAGE_RELEASE_H_
