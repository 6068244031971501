#include "model/tokenizer/text_stream.h"

#include <algorithm>

#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::model {

absl::StatusOr<std::string> TextStream::Add(int32_t token) {
  tokens_.push_back(token);
  QZO_ASSIGN_OR_RETURN(const std::string text, tokenizer_.Decode(tokens_, /*show_special=*/false));
  const size_t whole = std::min(base::FindInvalidUtf8(text), text.size());
  if (whole <= given_) return "";
  std::string piece = text.substr(given_, whole - given_);
  given_ = whole;
  return piece;
}

std::vector<int32_t> StopTokens(const Tokenizer& tokenizer) {
  std::vector<int32_t> stops;
  if (const auto eos = tokenizer.eos()) stops.push_back(*eos);
  if (const auto end = tokenizer.FindToken("<|im_end|>")) stops.push_back(*end);
  return stops;
}

}  // namespace qzo::model
