// The loop that byte-level and SentencePiece BPE share: again and again join the two neighbours whose join has the
// lowest priority number, the leftmost of equals, until nothing joins. O(n log n) in the number of symbols, so that one
// endless word is no attack. Reusable: keeps its memory between words. Not thread-safe.
#ifndef QZO_MODEL_TOKENIZER_SYMBOL_MERGER_H_
#define QZO_MODEL_TOKENIZER_SYMBOL_MERGER_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

namespace qzo::model {

class SymbolMerger {
 public:
  struct Symbol {
    int32_t id;      // -1 for text that is no token
    uint32_t begin;  // of its text
    uint32_t size;   // in bytes; 0 once it was joined to its left neighbour
    int32_t previous;
    int32_t next;  // -1 at the ends
  };
  struct Join {
    double priority;
    int32_t id;
  };

  void Clear() { symbols_.clear(); }
  // Appends a symbol to the word; `size` > 0.
  void Add(int32_t id, uint32_t begin, uint32_t size) {
    const auto index = static_cast<int32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({id, begin, size, index - 1, -1});
  }

  // `find_join(left, right)` is an optional<Join>: what the two symbols become together.
  template <typename FindJoin>
  void Run(const FindJoin& find_join) {
    candidates_.clear();
    for (int32_t i = 1; i < static_cast<int32_t>(symbols_.size()); ++i) Consider(i - 1, i, find_join);
    while (!candidates_.empty()) {
      std::pop_heap(candidates_.begin(), candidates_.end(), Later);
      const Candidate best = candidates_.back();
      candidates_.pop_back();
      Symbol& left = symbols_[static_cast<size_t>(best.left)];
      Symbol& right = symbols_[static_cast<size_t>(best.right)];
      // Sizes only grow, except to 0: another sum means that one of the two has been joined since.
      if (left.size == 0 || right.size == 0 || left.size + right.size != best.size) continue;
      left.id = best.id;
      left.size = best.size;
      left.next = right.next;
      right.size = 0;
      if (left.next >= 0) symbols_[static_cast<size_t>(left.next)].previous = best.left;
      if (left.previous >= 0) Consider(left.previous, best.left, find_join);
      if (left.next >= 0) Consider(best.left, left.next, find_join);
    }
  }

  // Those of size 0 are to be skipped.
  const std::vector<Symbol>& symbols() const { return symbols_; }

 private:
  struct Candidate {
    double priority;
    int32_t left, right;
    uint32_t size;
    int32_t id;
  };
  static bool Later(const Candidate& a, const Candidate& b) {
    return std::tie(a.priority, a.left) > std::tie(b.priority, b.left);
  }

  template <typename FindJoin>
  void Consider(int32_t left, int32_t right, const FindJoin& find_join) {
    const Symbol& l = symbols_[static_cast<size_t>(left)];
    const Symbol& r = symbols_[static_cast<size_t>(right)];
    const std::optional<Join> join = find_join(l, r);
    if (!join.has_value()) return;
    candidates_.push_back({join->priority, left, right, l.size + r.size, join->id});
    std::push_heap(candidates_.begin(), candidates_.end(), Later);
  }

  std::vector<Symbol> symbols_;
  std::vector<Candidate> candidates_;  // a heap
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_SYMBOL_MERGER_H_
