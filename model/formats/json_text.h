// JSON that somebody else wrote. Pure and thread-safe.
#ifndef QZO_MODEL_FORMATS_JSON_TEXT_H_
#define QZO_MODEL_FORMATS_JSON_TEXT_H_

#include <nlohmann/json.hpp>
#include <string_view>

namespace qzo::model {

// Whether arrays and objects stand within one another on more than 100 levels: whoever copies or prints such a value
// needs a stack to match.
bool JsonNestsTooDeep(std::string_view text);

// Discarded, hence neither null nor an object, when `text` is not JSON or nests too deep.
nlohmann::json ParseJson(std::string_view text);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_JSON_TEXT_H_
