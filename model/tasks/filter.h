// What a placeholder does to a field's text before it stands in a prompt, as in {premise|cut .|capital}. The names:
//
//   strip            without white space at both ends
//   lower            letters in lower case
//   capital          the first letter in upper case
//   uncapital        the first word in lower case, unless it is "I"
//   cut X            without white space and one X at the end
//   end X            with X at the end, unless it ends so
//   map A=B C=D …    B for the text A, D for C; any other text is an error
//
// Letters and white space are ASCII's. Immutable; thread-safe.
#ifndef QZO_MODEL_TASKS_FILTER_H_
#define QZO_MODEL_TASKS_FILTER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::model {

class Filter {
 public:
  // Of "cut ."; INVALID_ARGUMENT names what is wrong.
  static absl::StatusOr<Filter> Parse(std::string_view text);

  // INVALID_ARGUMENT for a text that a map does not have.
  absl::StatusOr<std::string> Apply(std::string text) const;

 private:
  enum class Kind : uint8_t { kStrip, kLower, kCapital, kUncapital, kCut, kEnd, kMap };
  Kind kind_ = Kind::kStrip;
  std::string argument_;
  std::vector<std::pair<std::string, std::string>> map_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_FILTER_H_
