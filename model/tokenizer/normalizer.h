// What happens to text before it is split into words. Thread-safe once made.
#ifndef QZO_MODEL_TOKENIZER_NORMALIZER_H_
#define QZO_MODEL_TOKENIZER_NORMALIZER_H_

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/charsmap.h"
#include "model/tokenizer/regex.h"

namespace qzo::model {

// Steps, one after the other. Bytes that are not valid UTF-8 pass through all of them but Prepend and
// CollapseBlanks, which look at the text as a whole.
class Normalizer {
 public:
  enum class Form { kNfc, kNfd, kNfkc, kNfkd };
  struct Lowercase {};
  struct Prepend {
    std::string text;  // before a text that is not empty
  };
  struct Replace {
    std::shared_ptr<const Regex> pattern;
    std::string replacement;
  };
  struct Strip {
    bool left, right;
  };
  // SentencePiece's remove_extra_whitespaces: no blanks at the ends, one between words.
  struct CollapseBlanks {};
  using Step = std::variant<Form, Lowercase, Prepend, Replace, Strip, CollapseBlanks, std::shared_ptr<const Charsmap>>;

  void Add(Step step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }

  // Possible errors: those of Regex::FindAll.
  absl::StatusOr<std::string> Apply(std::string_view text) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_NORMALIZER_H_
