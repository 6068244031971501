#include "model/tokenizer/vocabulary.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/byte_letters.h"
#include "model/tokenizer/utf8.h"

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

// User-defined runs of blanks (Gemma has "\u2581\u2581") are pieces of text like any other.
bool IsText(TokenKind kind, std::string_view spelling) {
  if (kind == TokenKind::kUserDefined) {
    while (spelling.starts_with(kBlankMark)) spelling.remove_prefix(kBlankMark.size());
    return spelling.empty();
  }
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
    if (IsText(vocabulary.kinds[i], tokens[i]))
      vocabulary.text_ids.emplace(vocabulary.spellings[i], static_cast<int32_t>(i));
  }
  QZO_ASSIGN_OR_RETURN(vocabulary.bos, LoadId(file, "tokenizer.ggml.bos_token_id", tokens.size()));
  QZO_ASSIGN_OR_RETURN(vocabulary.eos, LoadId(file, "tokenizer.ggml.eos_token_id", tokens.size()));
  QZO_ASSIGN_OR_RETURN(vocabulary.unknown, LoadId(file, "tokenizer.ggml.unknown_token_id", tokens.size()));
  return vocabulary;
}

std::array<int32_t, 256> Vocabulary::ByteTokens() const {
  std::array<int32_t, 256> tokens;
  for (size_t byte = 0; byte < tokens.size(); ++byte) {
    const std::optional<int32_t> id = FindId(ids, absl::StrFormat("<0x%02X>", byte));
    tokens[byte] = id.has_value() && kinds[static_cast<size_t>(*id)] == TokenKind::kByte ? *id : -1;
  }
  return tokens;
}

std::string TokenBytes(const Vocabulary& vocabulary, int32_t id, Spelling spelling) {
  const std::string& text = vocabulary.spellings[static_cast<size_t>(id)];
  const TokenKind kind = vocabulary.kinds[static_cast<size_t>(id)];
  if (spelling == Spelling::kByteLetters) return kind == TokenKind::kUserDefined ? text : BytesOfLetters(text);
  uint32_t byte = 0;
  if (kind == TokenKind::kByte && text.size() == 6 && absl::SimpleHexAtoi(text.substr(1, 4), &byte))
    return std::string(1, static_cast<char>(byte));
  if (spelling == Spelling::kPlain) return text;
  return absl::StrReplaceAll(text, {{base::ToAbsl(kBlankMark), " "}});
}

std::optional<int32_t> FindId(const Vocabulary::Ids& ids, std::string_view spelling) {
  const auto it = ids.find(base::ToAbsl(spelling));
  return it == ids.end() ? std::nullopt : std::optional<int32_t>(it->second);
}

}  // namespace qzo::model
