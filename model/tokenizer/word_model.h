// How words become tokens.
#ifndef QZO_MODEL_TOKENIZER_WORD_MODEL_H_
#define QZO_MODEL_TOKENIZER_WORD_MODEL_H_

#include <cstdint>
#include <string_view>
#include <vector>

namespace qzo::model {

// Thread-safe.
class WordModel {
 public:
  virtual ~WordModel() = default;

  // Appends the ids of `words`, which may hold any bytes, one word after the other.
  virtual void Encode(const std::vector<std::string_view>& words, std::vector<int32_t>* ids) const = 0;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_WORD_MODEL_H_
