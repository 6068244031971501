// Characters of texts that may hold any bytes. Pure and thread-safe.
#ifndef QZO_MODEL_TOKENIZER_UTF8_H_
#define QZO_MODEL_TOKENIZER_UTF8_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/text.h"

namespace qzo::model {

// SentencePiece's blank.
inline constexpr std::string_view kBlankMark = "\u2581";

// Bytes of the character that `text` (not empty) begins with; 1 for a byte that begins no valid character.
inline size_t CharacterSize(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return 1;
  const size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return base::FindInvalidUtf8(text.substr(0, size)) == std::string_view::npos ? size : 1;
}

// The code point of one valid character.
inline uint32_t CodePoint(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return lead;
  uint32_t code = lead & (0x7Fu >> character.size());
  for (const char byte : character.substr(1)) code = code << 6 | (static_cast<unsigned char>(byte) & 0x3Fu);
  return code;
}

// Unicode's White_Space.
inline bool IsWhiteSpace(uint32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

// `text` is a byte that is no part of a valid character.
inline bool IsInvalidByte(std::string_view text) { return text.size() == 1 && (text[0] & 0x80) != 0; }

// Calls `use(part)` for the parts of `text`, in order: valid UTF-8 as long as possible, and single invalid bytes.
template <typename Use>
void ForEachValidPart(std::string_view text, const Use& use) {
  while (!text.empty()) {
    const size_t valid_size = std::min(base::FindInvalidUtf8(text), text.size());
    if (valid_size > 0) use(text.substr(0, valid_size));
    if (valid_size < text.size()) use(text.substr(valid_size, 1));
    text.remove_prefix(std::min(valid_size + 1, text.size()));
  }
}

// Bytes of white space that valid UTF-8 begins and ends with.
inline size_t LeadingWhiteSpace(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t size = CharacterSize(text.substr(at));
    if (IsInvalidByte(text.substr(at, size)) || !IsWhiteSpace(CodePoint(text.substr(at, size)))) break;
    at += size;
  }
  return at;
}
inline size_t TrailingWhiteSpace(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && (text[at] & 0xC0) == 0x80) --at;
    const std::string_view last = text.substr(at, end - at);
    if (CharacterSize(last) != last.size() || IsInvalidByte(last) || !IsWhiteSpace(CodePoint(last))) break;
    end = at;
  }
  return text.size() - end;
}

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_UTF8_H_
