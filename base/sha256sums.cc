#include "base/sha256sums.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/text.h"

namespace qzo::base {
namespace {

constexpr size_t kDigits = 64;
constexpr std::string_view kGap = "  ";

bool IsSafeName(std::string_view name) {
  constexpr size_t kMaxName = 255;
  const auto safe = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           std::string_view(" ._-+@=,()").find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= kMaxName && name[0] != '.' && name[0] != ' ' &&
         std::all_of(name.begin(), name.end(), safe);
}

}  // namespace

std::string WriteSha256Sums(absl::Span<const FileDigest> files) {
  std::string text;
  for (const FileDigest& file : files) absl::StrAppend(&text, file.digest, ToAbsl(kGap), file.name, "\n");
  return text;
}

bool IsSha256Sums(std::string_view bytes) {
  return bytes.size() > kDigits + kGap.size() && IsSha256Hex(bytes.substr(0, kDigits)) &&
         bytes.substr(kDigits, kGap.size()) == kGap;
}

absl::StatusOr<std::vector<FileDigest>> ParseSha256Sums(std::string_view text) {
  if (text.size() > kMaxSha256SumsBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a list of files of ", text.size(), " bytes, expected at most ", kMaxSha256SumsBytes));
  }
  std::vector<FileDigest> files;
  const auto error = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("line ", files.size() + 1, " of the list of files: ", parts...));
  };
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (end == std::string_view::npos || !IsSha256Sums(line)) {
      return error("expected a SHA-256, two blanks, a name and a line feed");
    }
    FileDigest file{.name = std::string(line.substr(kDigits + kGap.size())),
                    .digest = std::string(line.substr(0, kDigits))};
    if (!IsSafeName(file.name)) {
      return error("the name '", absl::CHexEscape(file.name.substr(0, 80)), "' is not safe in a directory");
    }
    if (!files.empty() && files.back().name >= file.name) {
      return error("'", file.name, "' comes after '", files.back().name, "', expected the order of names");
    }
    files.push_back(std::move(file));
    text.remove_prefix(end + 1);
  }
  if (files.size() < 2) return absl::InvalidArgumentError("a list of fewer than two files");
  return files;
}

}  // namespace qzo::base
