// The split of text into words, between which a tokenizer never joins. Thread-safe once made.
#ifndef QZO_MODEL_TOKENIZER_PRETOKENIZE_H_
#define QZO_MODEL_TOKENIZER_PRETOKENIZE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/regex.h"

namespace qzo::model {

// When a blank is put before text that has none.
enum class BlankPrefix : uint8_t { kNever, kFirst, kAlways };  // kFirst: at the beginning of a sequence alone

// Words, in order: views of the text that was split, or of `rewritten`.
struct Words {
  std::vector<std::string_view> words;
  std::vector<std::unique_ptr<const std::string>> rewritten;
};

class Pretokenizer {
 public:
  // What becomes of the text that an expression matches.
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

  Pretokenizer();
  ~Pretokenizer();
  Pretokenizer(Pretokenizer&&) noexcept;
  Pretokenizer& operator=(Pretokenizer&&) noexcept;

  // Splits every word. `pattern` as for Regex; `invert` exchanges what matches and what lies between.
  absl::Status AddSplit(std::string_view pattern, Behavior behavior = Behavior::kIsolated, bool invert = false);
  absl::Status AddLiteralSplit(std::string_view text, Behavior behavior, bool invert = false);
  // Spells every byte as GPT-2 does (byte_letters.h).
  void AddByteLetters();
  // Blanks become `mark`; a word that does not begin with one gets one as `prefix` says.
  void AddBlankMarks(std::string_view mark, BlankPrefix prefix);

  // Each byte of `text` that is not valid UTF-8 is a word of its own, which only AddByteLetters changes. `begins` says
  // whether a sequence begins here. Possible errors: those of Regex::FindAll.
  absl::StatusOr<Words> Split(std::string_view text, bool begins) const;

 private:
  class Step;
  class SplitStep;
  class ByteLetters;
  class BlankMarks;
  std::vector<std::unique_ptr<const Step>> steps_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_PRETOKENIZE_H_
