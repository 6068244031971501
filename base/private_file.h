// Files for secrets.
#ifndef QZO_BASE_PRIVATE_FILE_H_
#define QZO_BASE_PRIVATE_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace qzo::base {

// Makes a file that only its owner can read, from the first moment on. ALREADY_EXISTS; otherwise as base/fs.h.
absl::Status WritePrivately(const std::string& path, std::string_view bytes);

}  // namespace qzo::base

#endif  // QZO_BASE_PRIVATE_FILE_H_
