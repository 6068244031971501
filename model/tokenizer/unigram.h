// SentencePiece's unigram model, as in T5: of all ways to cut a word into pieces, the one whose scores (log
// probabilities) have the greatest sum. O(n · longest piece).
#ifndef QZO_MODEL_TOKENIZER_UNIGRAM_H_
#define QZO_MODEL_TOKENIZER_UNIGRAM_H_

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/trie.h"
#include "model/tokenizer/vocabulary.h"
#include "model/tokenizer/word_model.h"

namespace qzo::model {

class Unigram final : public WordModel {
 public:
  // `scores` has one finite number per token. A character that is no piece is the unknown token (neighbours are one),
  // or with `byte_fallback` its bytes' tokens where there are all of them. Possible errors: INVALID_ARGUMENT (no
  // unknown token).
  static absl::StatusOr<std::unique_ptr<Unigram>> Make(const Vocabulary& vocabulary, std::vector<double> scores,
                                                       bool byte_fallback);

  void Encode(const std::vector<std::string_view>& words, std::vector<int32_t>* ids) const override;

 private:
  Unigram(const Vocabulary& vocabulary, std::vector<double> scores, bool byte_fallback);
  // The bytes' tokens, or the unknown token.
  void AppendUnknown(std::string_view text, std::vector<int32_t>* ids) const;

  const std::vector<double> scores_;  // by id
  const bool byte_fallback_;
  const int32_t unknown_;
  const std::array<int32_t, 256> byte_tokens_;
  double unknown_score_;
  Trie pieces_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_UNIGRAM_H_
