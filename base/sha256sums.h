// Lists of files in the form that `sha256sum` prints and `sha256sum -c` checks: what a model in several files is known
// by is the SHA-256 of such a list. Pure and thread-safe.
#ifndef QZO_BASE_SHA256SUMS_H_
#define QZO_BASE_SHA256SUMS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace qzo::base {

struct FileDigest {
  std::string name;
  std::string digest;  // SHA-256
};

// What a list is called where it lies beside its files.
inline constexpr char kSha256SumsName[] = "SHA256SUMS";
// Longer lists are refused.
inline constexpr size_t kMaxSha256SumsBytes = size_t{1} << 20;

// One line each, in the given order.
std::string WriteSha256Sums(absl::Span<const FileDigest> files);

// Whether a file is such a list rather than anything else that a model's digest may name: it begins with a digest and
// two blanks.
bool IsSha256Sums(std::string_view bytes);

// Only what WriteSha256Sums writes for two or more files in the order of their names, each a name that is safe in any
// directory: up to 255 letters, digits, blanks and "._-+@=,()", no '.' or blank first. Possible errors:
// INVALID_ARGUMENT naming the line.
absl::StatusOr<std::vector<FileDigest>> ParseSha256Sums(std::string_view text);

}  // namespace qzo::base

#endif  // QZO_BASE_SHA256SUMS_H_
