// What differs between families of tokenizers: how ordinary text, between special tokens, becomes tokens.
#ifndef QZO_MODEL_TOKENIZER_TEXT_MODEL_H_
#define QZO_MODEL_TOKENIZER_TEXT_MODEL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace qzo::model {

// Thread-safe.
class TextModel {
 public:
  virtual ~TextModel() = default;

  // Appends the ids of `text`, which may hold any bytes.
  virtual absl::Status Encode(std::string_view text, std::vector<int32_t>* ids) const = 0;

  // The bytes that a token stands for.
  virtual std::string Bytes(int32_t id) const = 0;

  // Whether Encode puts a blank before the text, which decoding must take away again.
  virtual bool adds_space_prefix() const = 0;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_TEXT_MODEL_H_
