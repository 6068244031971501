// A checkpoint's tokenizer as the keys and values that GGUF files have it in. Pure and thread-safe.
#ifndef QZO_MODEL_TOKENIZER_GGUF_TABLES_H_
#define QZO_MODEL_TOKENIZER_GGUF_TABLES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/formats/checkpoint.h"
#include "model/formats/gguf_writer.h"

namespace qzo::model {

struct TokenizerInGguf {
  GgufValues values;
  // Tokens whose own text becomes other tokens in GGUF, where nothing says that texts are normalized: at most one in a
  // hundred.
  int64_t differing = 0;
};

// With unused tokens up to `vocabulary`, the rows of the embedding. Byte-level BPE becomes "gpt2" with the name of the
// pre-tokenizer that splits alike, BPE over marked blanks becomes "llama" with the ranks of its merges as scores. What
// was made is read again and encodes every token's text and texts of many scripts as the checkpoint's own does.
// Possible errors: those of MakeTokenizer; INVALID_ARGUMENT for a tokenizer that GGUF files can't hold.
absl::StatusOr<TokenizerInGguf> TokenizerToGguf(const Checkpoint& checkpoint, int32_t vocabulary);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_GGUF_TABLES_H_
