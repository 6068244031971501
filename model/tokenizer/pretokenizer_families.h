// The pre-tokenizers that GGUF files name in `tokenizer.ggml.pre`. Pure and thread-safe.
#ifndef QZO_MODEL_TOKENIZER_PRETOKENIZER_FAMILIES_H_
#define QZO_MODEL_TOKENIZER_PRETOKENIZER_FAMILIES_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/pretokenize.h"

namespace qzo::model {

// GPT-2's expression, which ByteLevel means in tokenizer.json.
extern const std::string_view kGpt2Pattern;

struct PretokenizerFamily {
  std::vector<std::string_view> names;
  // Applied one after the other: each splits every word into what matches and what lies between.
  std::vector<std::string_view> patterns;
  bool whole_words = false;  // a word that is a token is taken as it is, even where merges would not lead there
  bool add_bos = false;      // when the file does not say
};

// nullptr when not supported.
const PretokenizerFamily* FindPretokenizerFamily(std::string_view name);
std::vector<std::string> SupportedPretokenizers();
// One name of each family; that of files that name none comes last.
std::vector<std::string_view> PretokenizerNames();

// The family's splits, and then GPT-2's letters for bytes. Possible errors: those of Pretokenizer::AddSplit.
absl::StatusOr<Pretokenizer> MakePretokenizer(const PretokenizerFamily& family);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_PRETOKENIZER_FAMILIES_H_
