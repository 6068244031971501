// Text with {field} placeholders, parsed once; filters may follow the field: {question|strip|end ?} (filter.h). "{{"
// and
// "}}" are literal braces. Immutable; thread-safe.
#ifndef QZO_MODEL_TASKS_TEMPLATE_H_
#define QZO_MODEL_TASKS_TEMPLATE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tasks/filter.h"

namespace qzo::model {

class Template {
 public:
  struct Piece {
    enum class Kind : uint8_t {
      kText,   // as it stands
      kField,  // the name of a field
      kMark,   // "<|…|>" in the template's own text: a special token where the vocabulary has it, text elsewhere
    };
    Kind kind;
    std::string text;
    std::vector<Filter> filters = {};  // kField
  };

  // INVALID_ARGUMENT with the byte (from 1) of the offence: a '{' that is not closed on its line, a '}' that closes
  // nothing, an empty name, an unknown filter.
  static absl::StatusOr<Template> Parse(std::string_view text);

  const std::vector<Piece>& pieces() const { return pieces_; }
  bool HasField() const;
  bool HasField(std::string_view name) const;

 private:
  std::vector<Piece> pieces_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_TEMPLATE_H_
