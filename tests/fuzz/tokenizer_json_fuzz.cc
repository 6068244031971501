// Any bytes as Hugging Face's files: refused, or a tokenizer that encodes every text and decodes every id. A NUL ends
// tokenizer.json; tokenizer_config.json follows.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "model/tokenizer/tokenizer_json.h"

namespace qzo::model {
namespace {

void Use(const Tokenizer& tokenizer) {
  for (const bool parse_special : {false, true}) {
    for (const std::string_view text : {"", "I've 12  words <s>\n\xff \u2581e\u0301", "aaaaaaaa ab<tool> "}) {
      const auto ids = tokenizer.Encode(text, parse_special);
      // An expression of the file's own may take too long.
      QZO_CHECK(ids.ok() || absl::IsResourceExhausted(ids.status()));
      if (ids.ok()) QZO_CHECK(tokenizer.Decode(*ids, true).ok());
      QZO_CHECK(tokenizer.EncodeContinuation(text, parse_special).ok() == ids.ok());
    }
  }
  std::vector<int32_t> all;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) all.push_back(id);
  QZO_CHECK(tokenizer.Decode(all, false).ok());
  QZO_CHECK(!tokenizer.add_bos() || tokenizer.bos().has_value());
}

}  // namespace
}  // namespace qzo::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(bytes.find('\0'), bytes.size());
  const std::string_view config = bytes.substr(std::min(end + 1, bytes.size()));
  const auto tokenizer = qzo::model::MakeTokenizerFromJson({.tokenizer = bytes.substr(0, end), .config = config});
  if (tokenizer.ok()) qzo::model::Use(**tokenizer);
  return 0;
}
