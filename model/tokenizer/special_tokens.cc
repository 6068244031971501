#include "model/tokenizer/special_tokens.h"

namespace qzo::model {

void SpecialTokens::Add(std::string_view spelling, int32_t id) {
  uint32_t node = 0;
  for (const char byte : spelling) {
    const auto [it, added] = children_.emplace(Edge(node, byte), static_cast<uint32_t>(ids_.size()));
    if (added) ids_.push_back(-1);
    node = it->second;
  }
  if (ids_[node] < 0) ids_[node] = id;
}

std::optional<SpecialTokens::Match> SpecialTokens::LongestPrefix(std::string_view text) const {
  std::optional<Match> longest;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto it = children_.find(Edge(node, text[i]));
    if (it == children_.end()) break;
    node = it->second;
    if (ids_[node] >= 0) longest = Match{ids_[node], i + 1};
  }
  return longest;
}

}  // namespace qzo::model
