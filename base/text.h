// Small text helpers. Pure and thread-safe.
#ifndef QZO_BASE_TEXT_H_
#define QZO_BASE_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/string_view.h"

namespace qzo::base {

// Debian's Abseil keeps absl::string_view apart from std::string_view.
inline absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view ToStd(absl::string_view s) { return {s.data(), s.size()}; }

// " (did you mean 'x'?)" for the candidate nearest to `word` by edit distance, or "" when none is near.
std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates);

// Offset of the first byte that is not valid UTF-8 (overlong forms and surrogates included), or npos.
size_t FindInvalidUtf8(std::string_view text);

// "1.4 GiB", "622 KiB", "37 B".
std::string HumanBytes(uint64_t bytes);

}  // namespace qzo::base

#endif  // QZO_BASE_TEXT_H_
