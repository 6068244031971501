#include "model/formats/json_text.h"

namespace qzo::model {

bool JsonNestsTooDeep(std::string_view text) {
  constexpr int kMaxLevels = 100;
  int levels = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      quoted = !quoted;
    } else if (quoted) {
      if (c == '\\') ++i;
    } else if (c == '[' || c == '{') {
      if (++levels > kMaxLevels) return true;
    } else if (c == ']' || c == '}') {
      --levels;
    }
  }
  return false;
}

nlohmann::json ParseJson(std::string_view text) {
  if (JsonNestsTooDeep(text)) return nlohmann::json(nlohmann::json::value_t::discarded);
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace qzo::model
