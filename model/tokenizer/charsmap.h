// SentencePiece's precompiled normalization table: a trie of byte strings, each with its replacement. The format is
// that of `precompiled_charsmap` in its model files: the length of the trie in bytes (4 bytes, little-endian), the trie
// (a double array of 32-bit units as of darts-clone), and the replacements, each ended by a NUL. Immutable;
// thread-safe.
#ifndef QZO_MODEL_TOKENIZER_CHARSMAP_H_
#define QZO_MODEL_TOKENIZER_CHARSMAP_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::model {

class Charsmap {
 public:
  // INVALID_ARGUMENT when the lengths contradict each other.
  static absl::StatusOr<Charsmap> Parse(std::string_view bytes);

  // `text` with the longest string that the table knows replaced at each position; `text` may hold any bytes.
  std::string Normalize(std::string_view text) const;

 private:
  struct Match {
    size_t size = 0;  // bytes replaced; 0 when the table has nothing
    std::string_view replacement;
  };
  Match LongestPrefix(std::string_view text) const;
  uint32_t Unit(uint32_t node) const { return node < units_.size() ? units_[node] : 0; }

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_CHARSMAP_H_
