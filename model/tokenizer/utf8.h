// Pure and thread-safe.
#ifndef QZO_MODEL_TOKENIZER_UTF8_H_
#define QZO_MODEL_TOKENIZER_UTF8_H_

#include <cstddef>
#include <string_view>

#include "base/text.h"

namespace qzo::model {

// Bytes of the character that `text` (not empty) begins with; 1 for a byte that begins no valid character.
inline size_t CharacterSize(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return base::FindInvalidUtf8(text.substr(0, size)) == std::string_view::npos ? size : 1;
}

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_UTF8_H_
