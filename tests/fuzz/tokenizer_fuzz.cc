// Any bytes as text: what is encoded decodes to itself, and without parse_special holds no control token. The first
// byte chooses the tokenizer and parse_special.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_replace.h"
#include "base/log.h"
#include "base/text.h"
#include "model/tokenizer/pretokenizer_families.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/support/tiny_vocabularies.h"

namespace qzo::model {
namespace {

struct Subject {
  std::unique_ptr<Tokenizer> tokenizer;
  bool sentence_piece;  // decodes U+2581 to a blank
};

Subject MakeSubject(const testing::TinyVocabulary& vocabulary, std::string_view model, std::string_view pre) {
  const std::string bytes = testing::TokenizerGguf(vocabulary, model, pre).Finish();
  return {MakeTokenizer(*GgufFile::ParseBytes(bytes, "fuzz.gguf").value()).value(), model != "gpt2"};
}

std::vector<Subject> MakeSubjects() {
  std::vector<Subject> subjects;
  subjects.push_back(MakeSubject(testing::TinySentencePieceVocabulary(), "llama", "default"));
  subjects.push_back(MakeSubject(testing::TinySentencePieceVocabulary(), "t5", ""));
  for (const std::string& pre : SupportedPretokenizers()) {
    subjects.push_back(MakeSubject(testing::TinyByteLevelVocabulary(), "gpt2", pre));
  }
  return subjects;
}

void CheckRoundTrip(const Subject& subject, std::string_view text, bool parse_special) {
  const std::vector<int32_t> ids = subject.tokenizer->Encode(text, parse_special).value();
  if (!parse_special) {
    const std::string hidden_removed = subject.tokenizer->Decode(ids, false).value();
    QZO_CHECK(hidden_removed == subject.tokenizer->Decode(ids, true).value());
  }
  std::string expected(text);
  if (subject.sentence_piece) expected = absl::StrReplaceAll(base::ToAbsl(text), {{"\xE2\x96\x81", " "}});
  QZO_CHECK(subject.tokenizer->Decode(ids, true).value() == expected);
}

}  // namespace
}  // namespace qzo::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<qzo::model::Subject> subjects = qzo::model::MakeSubjects();
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  qzo::model::CheckRoundTrip(subjects[data[0] / 2 % subjects.size()], text, data[0] % 2 != 0);
  return 0;
}
