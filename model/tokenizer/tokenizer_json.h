// Tokenizers from Hugging Face's files. Pure and thread-safe.
#ifndef QZO_MODEL_TOKENIZER_TOKENIZER_JSON_H_
#define QZO_MODEL_TOKENIZER_TOKENIZER_JSON_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/table_tokenizer.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {

// The contents of the files; those that are not there are empty.
struct TokenizerFiles {
  std::string_view tokenizer;      // tokenizer.json
  std::string_view config;         // tokenizer_config.json: bos_token, eos_token, add_bos_token, chat_template
  std::string_view chat_template;  // chat_template.jinja, which comes before the config's
};

// BPE and Unigram models. Special added tokens are control tokens, the others user-defined. Possible errors:
// INVALID_ARGUMENT that names the file, the place in it, what was found and expected; components that are not supported
// are refused by name.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizerFromJson(const TokenizerFiles& files);

// Pairs of pieces, by rank.
using BpeMerges = std::vector<std::pair<std::string, std::string>>;

// The tables of such a tokenizer. With `merges` only BPE models are read, and theirs are copied there.
absl::StatusOr<TokenizerTables> ReadTokenizerJson(const TokenizerFiles& files, BpeMerges* merges);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_TOKENIZER_JSON_H_
