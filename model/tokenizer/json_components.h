// The parts of Hugging Face's tokenizer.json around its model: normalizer, pre-tokenizer, post-processor and decoder.
// Types that are not supported are refused by name, together with those that are. Pure and thread-safe.
#ifndef QZO_MODEL_TOKENIZER_JSON_COMPONENTS_H_
#define QZO_MODEL_TOKENIZER_JSON_COMPONENTS_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/json_at.h"
#include "model/tokenizer/text_model.h"

namespace qzo::model {

// Each reads one component, null meaning none. Possible errors: INVALID_ARGUMENT.

absl::Status ReadNormalizer(const JsonAt& component, TextModel* model);
// Also decides how tokens are spelled.
absl::Status ReadPretokenizer(const JsonAt& component, TextModel* model);
// The id of the token that a post-processor puts before every text, which is taken for BOS. What it puts after a text
// is left to the tasks.
absl::StatusOr<std::optional<int32_t>> ReadPostProcessor(const JsonAt& component, int32_t vocab_size);
// Only checks: decoding follows from the vocabulary's spelling.
absl::Status CheckDecoder(const JsonAt& component);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_JSON_COMPONENTS_H_
