#include "model/tokenizer/vocabulary.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::model {
namespace {

absl::StatusOr<std::optional<int32_t>> LoadId(const GgufFile& file, std::string_view key, size_t vocab_size) {
  if (!file.HasKey(key)) return std::nullopt;
  QZO_ASSIGN_OR_RETURN(const uint64_t id, file.GetUint(key));
  if (id >= vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": ", base::ToAbsl(key), " is ", id, ", but there are ", vocab_size, " tokens"));
  }
  return static_cast<int32_t>(id);
}

absl::StatusOr<std::vector<TokenKind>> LoadKinds(const GgufFile& file, size_t vocab_size) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  std::vector<TokenKind> kinds(vocab_size, TokenKind::kNormal);
  if (!file.HasKey(kKey)) return kinds;
  QZO_ASSIGN_OR_RETURN(const std::vector<int64_t> numbers, file.GetInts(kKey));
  if (numbers.size() != vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", base::ToAbsl(kKey), " has ", numbers.size(),
                                                   " entries, but there are ", vocab_size, " tokens"));
  }
  for (size_t i = 0; i < vocab_size; ++i) {
    if (numbers[i] < 0 || numbers[i] > static_cast<int64_t>(TokenKind::kByte)) {
      return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", base::ToAbsl(kKey), " of token ", i, " is ",
                                                     numbers[i], ", expected 0 to 6"));
    }
    kinds[i] = static_cast<TokenKind>(numbers[i]);
  }
  return kinds;
}

bool IsText(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUndefined || kind == TokenKind::kUnused;
}

}  // namespace

absl::StatusOr<Vocabulary> LoadVocabulary(const GgufFile& file) {
  Vocabulary vocabulary;
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string_view> tokens, file.GetStrings("tokenizer.ggml.tokens"));
  if (tokens.empty() || tokens.size() > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": tokenizer.ggml.tokens has ", tokens.size(), " entries"));
  }
  vocabulary.spellings.assign(tokens.begin(), tokens.end());
  QZO_ASSIGN_OR_RETURN(vocabulary.kinds, LoadKinds(file, tokens.size()));
  for (size_t i = 0; i < tokens.size(); ++i) {
    vocabulary.ids.emplace(vocabulary.spellings[i], static_cast<int32_t>(i));
    if (IsText(vocabulary.kinds[i])) vocabulary.text_ids.emplace(vocabulary.spellings[i], static_cast<int32_t>(i));
  }
  QZO_ASSIGN_OR_RETURN(vocabulary.bos, LoadId(file, "tokenizer.ggml.bos_token_id", tokens.size()));
  QZO_ASSIGN_OR_RETURN(vocabulary.eos, LoadId(file, "tokenizer.ggml.eos_token_id", tokens.size()));
  QZO_ASSIGN_OR_RETURN(vocabulary.unknown, LoadId(file, "tokenizer.ggml.unknown_token_id", tokens.size()));
  return vocabulary;
}

std::optional<int32_t> FindId(const Vocabulary::Ids& ids, std::string_view spelling) {
  const auto it = ids.find(base::ToAbsl(spelling));
  return it == ids.end() ? std::nullopt : std::optional<int32_t>(it->second);
}

}  // namespace qzo::model
