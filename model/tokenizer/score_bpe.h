// SentencePiece's BPE, as in Llama 2: neighbours are joined by the score of what they make, and what is no token falls
// back to the tokens of its bytes (<0xXX>).
#ifndef QZO_MODEL_TOKENIZER_SCORE_BPE_H_
#define QZO_MODEL_TOKENIZER_SCORE_BPE_H_

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"
#include "model/tokenizer/word_model.h"

namespace qzo::model {

class ScoreBpe final : public WordModel {
 public:
  // `vocabulary` outlives the object; `scores` has one finite number per token. Possible errors: INVALID_ARGUMENT
  // (neither all byte tokens nor an unknown token).
  static absl::StatusOr<std::unique_ptr<ScoreBpe>> Make(const Vocabulary& vocabulary, std::vector<float> scores);

  void Encode(const std::vector<std::string_view>& words, std::vector<int32_t>* ids) const override;

 private:
  ScoreBpe(const Vocabulary& vocabulary, std::vector<float> scores);

  const Vocabulary& vocabulary_;
  const std::vector<float> scores_;    // by id
  std::array<int32_t, 256> byte_ids_;  // the unknown token where a byte has none
  size_t longest_piece_ = 0;           // bytes
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_SCORE_BPE_H_
