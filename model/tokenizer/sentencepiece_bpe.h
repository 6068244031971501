// SentencePiece's BPE, as in Llama 2: blanks are U+2581, characters are joined by score, and what is no token falls
// back to the tokens of its bytes (<0xXX>).
#ifndef QZO_MODEL_TOKENIZER_SENTENCEPIECE_BPE_H_
#define QZO_MODEL_TOKENIZER_SENTENCEPIECE_BPE_H_

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/formats/gguf.h"
#include "model/tokenizer/text_model.h"
#include "model/tokenizer/vocabulary.h"

namespace qzo::model {

class SentencePieceBpe final : public TextModel {
 public:
  // `vocabulary` outlives the object. Possible errors: INVALID_ARGUMENT (scores missing, not finite or not one per
  // token; neither all byte tokens nor an unknown token).
  static absl::StatusOr<std::unique_ptr<SentencePieceBpe>> Make(const GgufFile& file, const Vocabulary& vocabulary);

  absl::Status Encode(std::string_view text, std::vector<int32_t>* ids) const override;
  std::string Bytes(int32_t id) const override;
  bool adds_space_prefix() const override { return add_space_prefix_; }

 private:
  explicit SentencePieceBpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  absl::Status LoadByteTokens(const GgufFile& file);

  const Vocabulary& vocabulary_;
  std::vector<float> scores_;          // by id
  std::array<int32_t, 256> byte_ids_;  // the unknown token where a byte has none
  size_t longest_piece_ = 0;           // bytes
  bool add_space_prefix_ = true;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_SENTENCEPIECE_BPE_H_
