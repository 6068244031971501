// Regular expressions over valid UTF-8 (PCRE2), spelled as tokenizers' files spell them. Thread-safe.
#ifndef QZO_MODEL_TOKENIZER_REGEX_H_
#define QZO_MODEL_TOKENIZER_REGEX_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct pcre2_real_code_8;

namespace qzo::model {

class Regex {
 public:
  // Unicode's own white space and word characters stand for \s and \w, and ^ and $ hold at every line, as in
  // Oniguruma, which the tokenizers library uses. Possible errors: INVALID_ARGUMENT (an expression that PCRE2 refuses,
  // or that it would read otherwise than Oniguruma).
  static absl::StatusOr<std::unique_ptr<Regex>> Compile(std::string_view pattern);
  // Matches `text` itself.
  static absl::StatusOr<std::unique_ptr<Regex>> CompileLiteral(std::string_view text);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // Appends (begin, size) of every match that is not empty, from left to right and without overlaps. `text` is valid
  // UTF-8. Possible errors: RESOURCE_EXHAUSTED (the expression takes too many attempts on this text).
  absl::Status FindAll(std::string_view text, std::vector<std::pair<size_t, size_t>>* matches) const;

 private:
  explicit Regex(pcre2_real_code_8* code) : code_(code) {}
  static absl::StatusOr<std::unique_ptr<Regex>> CompileWith(std::string_view pattern, uint32_t options);

  pcre2_real_code_8* const code_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_REGEX_H_
