// BPE by ranked merges: a word's characters are tokens at first, and merges join neighbours by rank. Bytes are
// characters where the words are spelled in GPT-2's letters.
#ifndef QZO_MODEL_TOKENIZER_BPE_H_
#define QZO_MODEL_TOKENIZER_BPE_H_

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/symbol_merger.h"
#include "model/tokenizer/vocabulary.h"
#include "model/tokenizer/word_model.h"

namespace qzo::model {

class Bpe final : public WordModel {
 public:
  struct Options {
    bool whole_words = false;    // a word that is a token is taken as it is
    bool byte_fallback = false;  // a character that is no token becomes its bytes' tokens
    // What else it becomes; left out without one, as the tokenizers library does (SmolLM2 lacks 21 bytes, none of them
    // in printable text).
    std::optional<int32_t> unknown;
    bool fuse_unknown = false;  // one for neighbours within a word
  };
  // A merge's two pieces.
  using Merge = std::pair<std::string_view, std::string_view>;

  // `vocabulary` outlives the object. Possible errors: INVALID_ARGUMENT that begins "merges[i]" (a merge with a piece,
  // or of pieces, that are no tokens).
  static absl::StatusOr<std::unique_ptr<Bpe>> Make(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
                                                   const Options& options);

  // The two pieces of "left right". INVALID_ARGUMENT.
  static absl::StatusOr<Merge> ParseMerge(std::string_view merge);

  void Encode(const std::vector<std::string_view>& words, std::vector<int32_t>* ids) const override;

 private:
  Bpe(const Vocabulary& vocabulary, const Options& options);
  absl::Status AddMerges(const std::vector<Merge>& merges);
  // Calls merger->Add for every character.
  void AddSymbols(std::string_view word, SymbolMerger* merger) const;
  int32_t FindCharacter(std::string_view character) const;

  static uint64_t Pair(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  const Vocabulary& vocabulary_;
  const Options options_;
  std::array<int32_t, 256> byte_tokens_;                     // of byte_fallback
  std::vector<int32_t> characters_;                          // ids of the first code points; -1 where there is none
  absl::flat_hash_map<uint64_t, SymbolMerger::Join> joins_;  // by Pair; the priority is the rank
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_BPE_H_
