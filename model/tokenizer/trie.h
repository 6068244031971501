// Finds strings of a set at the beginning of a text. Thread-safe once filled.
#ifndef QZO_MODEL_TOKENIZER_TRIE_H_
#define QZO_MODEL_TOKENIZER_TRIE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace qzo::model {

// A trie over bytes.
class Trie {
 public:
  struct Match {
    int32_t id;
    size_t size;  // bytes of its spelling
  };

  // `spelling` is not empty. The first of two ids with one spelling counts.
  void Add(std::string_view spelling, int32_t id);
  bool empty() const { return ids_.size() == 1; }

  // The longest string that `text` begins with.
  std::optional<Match> LongestPrefix(std::string_view text) const {
    std::optional<Match> longest;
    ForEachPrefix(text, [&longest](Match match) { longest = match; });
    return longest;
  }

  // Calls `found(match)` for every string that `text` begins with, shortest first.
  template <typename Found>
  void ForEachPrefix(std::string_view text, const Found& found) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      if (node == 0) {
        node = first_[static_cast<unsigned char>(text[0])];
        if (node == 0) return;
      } else {
        const auto it = children_.find(Edge(node, text[i]));
        if (it == children_.end()) return;
        node = it->second;
      }
      if (ids_[node] >= 0) found(Match{ids_[node], i + 1});
    }
  }

 private:
  static uint64_t Edge(uint64_t node, char byte) { return node << 8 | static_cast<unsigned char>(byte); }

  std::vector<uint32_t> first_ = std::vector<uint32_t>(256);  // the root's children by byte; 0 where there is none
  absl::flat_hash_map<uint64_t, uint32_t> children_;          // of the other nodes, by Edge
  std::vector<int32_t> ids_ = {-1};                           // by node; -1 where nothing ends; node 0 is the root
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_TRIE_H_
