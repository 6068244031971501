// Finds tokens that are spelled out in a text. Thread-safe once filled.
#ifndef QZO_MODEL_TOKENIZER_SPECIAL_TOKENS_H_
#define QZO_MODEL_TOKENIZER_SPECIAL_TOKENS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace qzo::model {

// A trie over bytes.
class SpecialTokens {
 public:
  struct Match {
    int32_t id;
    size_t size;  // bytes of its spelling
  };

  // `spelling` is not empty.
  void Add(std::string_view spelling, int32_t id);

  // The longest token that `text` begins with.
  std::optional<Match> LongestPrefix(std::string_view text) const;

 private:
  static uint64_t Edge(uint64_t node, char byte) { return node << 8 | static_cast<unsigned char>(byte); }

  absl::flat_hash_map<uint64_t, uint32_t> children_;  // by Edge
  std::vector<int32_t> ids_ = {-1};                   // by node; -1 where no token ends; node 0 is the root
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_SPECIAL_TOKENS_H_
