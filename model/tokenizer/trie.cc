#include "model/tokenizer/trie.h"

namespace qzo::model {

void Trie::Add(std::string_view spelling, int32_t id) {
  uint32_t node = 0;
  for (const char byte : spelling) {
    uint32_t& child = node == 0 ? first_[static_cast<unsigned char>(byte)] : children_[Edge(node, byte)];
    if (child == 0) {
      child = static_cast<uint32_t>(ids_.size());
      ids_.push_back(-1);
    }
    node = child;
  }
  if (ids_[node] < 0) ids_[node] = id;
}

}  // namespace qzo::model
