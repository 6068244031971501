#include "model/tokenizer/charsmap.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

// A unit of the double array.
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFF; }
// The byte that leads to the unit; never a byte for a leaf.
uint32_t Label(uint32_t unit) { return unit & 0x800000FF; }

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Parse(std::string_view bytes) {
  uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof trie_bytes)
    return absl::InvalidArgumentError(absl::StrCat("found ", bytes.size(), " bytes, expected 4 at least"));
  std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  bytes.remove_prefix(sizeof trie_bytes);
  if (trie_bytes % 4 != 0 || trie_bytes > bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a trie of ", trie_bytes, " bytes, but ", bytes.size(), " follow; expected a multiple of 4"));
  }
  Charsmap map;
  map.units_.resize(trie_bytes / 4);
  if (trie_bytes > 0) std::memcpy(map.units_.data(), bytes.data(), trie_bytes);
  map.replacements_ = bytes.substr(trie_bytes);
  return map;
}

Charsmap::Match Charsmap::LongestPrefix(std::string_view text) const {
  Match match;
  uint32_t node = Offset(Unit(0));
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    const uint32_t unit = Unit(node);
    if (byte == 0 || Label(unit) != byte) break;
    node ^= Offset(unit);
    if (!HasLeaf(unit)) continue;
    const uint32_t at = Value(Unit(node));
    if (at < replacements_.size()) match = {i + 1, replacements_.c_str() + at};
  }
  return match;
}

std::string Charsmap::Normalize(std::string_view text) const {
  std::string result;
  while (!text.empty()) {
    const Match match = LongestPrefix(text);
    const size_t size = match.size > 0 ? match.size : CharacterSize(text);
    result += match.size > 0 ? match.replacement : text.substr(0, size);
    text.remove_prefix(size);
  }
  return result;
}

}  // namespace qzo::model
