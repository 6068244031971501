// GPT-2's byte-level BPE: text is split into words, a word's bytes are tokens at first, and merges join them by rank.
#ifndef QZO_MODEL_TOKENIZER_BYTE_LEVEL_BPE_H_
#define QZO_MODEL_TOKENIZER_BYTE_LEVEL_BPE_H_

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/formats/gguf.h"
#include "model/tokenizer/pretokenize.h"
#include "model/tokenizer/symbol_merger.h"
#include "model/tokenizer/text_model.h"
#include "model/tokenizer/vocabulary.h"

namespace qzo::model {

// Bytes that the vocabulary has no token for (SmolLM2 lacks 21, none of them in printable text) are left out, as the
// tokenizers library does.
class ByteLevelBpe final : public TextModel {
 public:
  // `vocabulary` outlives the object. Possible errors: INVALID_ARGUMENT (no or malformed merges, or of pieces that are
  // no tokens).
  static absl::StatusOr<std::unique_ptr<ByteLevelBpe>> Make(const GgufFile& file, const Vocabulary& vocabulary,
                                                            const PretokenizerFamily& family);

  absl::Status Encode(std::string_view text, std::vector<int32_t>* ids) const override;
  std::string Bytes(int32_t id) const override;
  bool adds_space_prefix() const override { return false; }

 private:
  explicit ByteLevelBpe(const Vocabulary& vocabulary);
  absl::Status LoadMerges(const GgufFile& file);
  // GPT-2's spelling of bytes: each is one printable character.
  std::string Spell(std::string_view bytes) const;

  static uint64_t Pair(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  const Vocabulary& vocabulary_;
  std::array<std::string, 256> letters_;                     // the character that spells each byte
  absl::flat_hash_map<std::string, char> bytes_;             // and back
  std::array<int32_t, 256> byte_ids_;                        // -1 where there is no token
  absl::flat_hash_map<uint64_t, SymbolMerger::Join> joins_;  // by Pair; the priority is the rank
  std::unique_ptr<Pretokenizer> pretokenizer_;
  bool whole_words_ = false;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_BYTE_LEVEL_BPE_H_
