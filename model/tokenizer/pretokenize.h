// The split of text into words before byte-level BPE, by the regular expressions of the model's family.
#ifndef QZO_MODEL_TOKENIZER_PRETOKENIZE_H_
#define QZO_MODEL_TOKENIZER_PRETOKENIZE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::model {

// What `tokenizer.ggml.pre` decides.
struct PretokenizerFamily {
  std::string_view name;
  // Applied one after the other: each splits every word into what matches and what lies between.
  std::vector<std::string_view> patterns;
  bool whole_words = false;  // a word that is a token is taken as it is, even where merges would not lead there
  bool add_bos = false;      // when the file does not say
};

// nullptr when not supported.
const PretokenizerFamily* FindPretokenizerFamily(std::string_view name);
std::vector<std::string> SupportedPretokenizers();

// Thread-safe.
class Pretokenizer {
 public:
  // `family` as found by FindPretokenizerFamily. Possible errors: INTERNAL (an expression that PCRE2 refuses).
  static absl::StatusOr<std::unique_ptr<Pretokenizer>> Make(const PretokenizerFamily& family);
  ~Pretokenizer();

  // The words of `text`, in order and without gaps; each byte that is not valid UTF-8 is a word of its own.
  // Possible errors: INTERNAL (PCRE2 ran out of memory).
  absl::StatusOr<std::vector<std::string_view>> Split(std::string_view text) const;

 private:
  class Regex;
  Pretokenizer();
  std::vector<std::unique_ptr<Regex>> regexes_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_PRETOKENIZE_H_
