// The one implementation of Tokenizer: tables from a file, whichever its format.
#ifndef QZO_MODEL_TOKENIZER_TABLE_TOKENIZER_H_
#define QZO_MODEL_TOKENIZER_TABLE_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/text_model.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/vocabulary.h"

namespace qzo::model {

struct TokenizerTables {
  std::unique_ptr<const Vocabulary> vocabulary;  // `text_model` refers to it
  TextModel text_model;
  std::vector<AddedToken> added_tokens;  // control and user-defined tokens
  bool add_bos = false;
  std::optional<std::string> chat_template;
};

// Possible errors: those of Normalizer::Apply, for the spellings of added tokens.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTableTokenizer(TokenizerTables tables);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_TABLE_TOKENIZER_H_
