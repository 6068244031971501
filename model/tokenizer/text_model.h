// What differs between families of tokenizers: how ordinary text, between special tokens, becomes tokens.
#ifndef QZO_MODEL_TOKENIZER_TEXT_MODEL_H_
#define QZO_MODEL_TOKENIZER_TEXT_MODEL_H_

#include <memory>

#include "model/tokenizer/normalizer.h"
#include "model/tokenizer/pretokenize.h"
#include "model/tokenizer/vocabulary.h"
#include "model/tokenizer/word_model.h"

namespace qzo::model {

// Text is normalized, split into words, and each word is encoded by itself. Thread-safe once made.
struct TextModel {
  Normalizer normalizer;
  Pretokenizer pretokenizer;
  std::unique_ptr<const WordModel> word_model;
  Spelling spelling = Spelling::kPlain;
  // What normalizer and pretokenizer put before a text, which decoding must take away again.
  BlankPrefix blank_prefix = BlankPrefix::kNever;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_TEXT_MODEL_H_
