// Text out of token ids, as they come. Thread-compatible.
#ifndef QZO_MODEL_TOKENIZER_TEXT_STREAM_H_
#define QZO_MODEL_TOKENIZER_TEXT_STREAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {

class TextStream {
 public:
  // `tokenizer` must outlive the stream.
  explicit TextStream(const Tokenizer* tokenizer) : tokenizer_(*tokenizer) {}

  // The text that `token` adds: whole characters. A token may end within one, or change the blanks of its neighbours,
  // so the whole is decoded anew.
  absl::StatusOr<std::string> Add(int32_t token);

 private:
  const Tokenizer& tokenizer_;
  std::vector<int32_t> tokens_;
  size_t given_ = 0;  // bytes
};

// The tokens that end what a model writes.
std::vector<int32_t> StopTokens(const Tokenizer& tokenizer);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_TEXT_STREAM_H_
