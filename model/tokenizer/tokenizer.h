// Text to token ids and back, from a model file's own tables. Thread-safe after construction.
#ifndef QZO_MODEL_TOKENIZER_TOKENIZER_H_
#define QZO_MODEL_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/formats/checkpoint.h"
#include "model/formats/gguf.h"

namespace qzo::model {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of `text`, without BOS or EOS. Invalid UTF-8 is encoded byte by byte, never refused; a byte that the vocabulary
  // has no token for is left out. With `parse_special`, text that spells a control or user-defined token
  // ("<|im_start|>") becomes that token; otherwise it is ordinary text: use that for anything a user wrote.
  // (User-defined runs of blanks, which some families have, are ordinary text and always match.) Possible errors:
  // INVALID_ARGUMENT (more than 256 MiB).
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const = 0;

  // Encode for text that follows other tokens of its sequence: without the blank that some tokenizers put at the
  // beginning of a sequence alone.
  virtual absl::StatusOr<std::vector<int32_t>> EncodeContinuation(std::string_view text, bool parse_special) const {
    return Encode(text, parse_special);
  }

  // The bytes of `ids`; control tokens give nothing unless `show_special`. The blank that SentencePiece puts before a
  // text is taken away again, so decode whole sequences, not single tokens. Ids out of range are INVALID_ARGUMENT.
  virtual absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids, bool show_special) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos() const = 0;  // what the file names, whether or not it is to be added
  virtual std::optional<int32_t> eos() const = 0;
  virtual bool add_bos() const = 0;  // whether a sequence begins with BOS
  // The id of the token spelled exactly like this, special or not.
  virtual std::optional<int32_t> FindToken(std::string_view spelling) const = 0;
  // The Jinja template for conversations that comes with the model.
  virtual std::optional<std::string> chat_template() const { return std::nullopt; }
};

// Byte-level BPE ("gpt2"), SentencePiece's BPE ("llama") or its unigram model ("t5"), as `tokenizer.ggml.model` and
// `.pre` say; the split is done by the family's own regular expression (PCRE2). Possible errors: INVALID_ARGUMENT
// (missing or inconsistent tables, unknown model or pre-tokenizer, which is named together with those supported). The
// result keeps no reference to `file`.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const GgufFile& file);

// From a checkpoint's files, as below. The result keeps no reference to it.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const Checkpoint& checkpoint);

// From Hugging Face's files in a directory: tokenizer.json and, where they are there, tokenizer_config.json and
// chat_template.jinja (tokenizer_json.h). Possible errors: those of FileSystem::Read and MakeTokenizerFromJson.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizerFromDirectory(const std::string& directory);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_TOKENIZER_H_
