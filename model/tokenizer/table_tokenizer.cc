#include "model/tokenizer/table_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

// Offsets within a text are 32 bits wide, and SentencePiece triples blanks.
constexpr size_t kMaxTextBytes = size_t{1} << 28;
// What normalization may make of them.
constexpr size_t kMaxNormalizedBytes = size_t{1} << 31;

class TableTokenizer final : public Tokenizer {
 public:
  explicit TableTokenizer(TokenizerTables tables) : tables_(std::move(tables)) {
    for (int32_t id = 0; id < vocab_size(); ++id) {
      bytes_.push_back(IsHidden(Kind(id)) ? vocabulary().spellings[static_cast<size_t>(id)]
                                          : TokenBytes(vocabulary(), id, text_model().spelling));
    }
  }

  absl::Status AddTokens() {
    for (AddedToken& token : tables_.added_tokens) {
      if (token.spelling.empty()) continue;
      const bool blank = LeadingWhiteSpace(token.spelling) == token.spelling.size();
      if (token.normalized) {
        QZO_ASSIGN_OR_RETURN(token.spelling, text_model().normalizer.Apply(token.spelling));
        if (token.spelling.empty()) continue;
      }
      // Normalizing would leave no blank to find.
      if (Kind(token.id) == TokenKind::kUserDefined && blank) blank_.Add(token);
      (token.normalized ? special_normalized_ : special_).Add(std::move(token));
    }
    tables_.added_tokens.clear();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    return EncodeAt(text, parse_special, /*begins=*/true);
  }
  absl::StatusOr<std::vector<int32_t>> EncodeContinuation(std::string_view text, bool parse_special) const override {
    return EncodeAt(text, parse_special, /*begins=*/false);
  }

  absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids, bool show_special) const override {
    std::string text;
    bool begins_text = text_model().blank_prefix != BlankPrefix::kNever;  // where Encode would have put a blank
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size()) {
        return absl::InvalidArgumentError(absl::StrCat("token id ", id, " is not in 0…", vocab_size() - 1));
      }
      const TokenKind kind = Kind(id);
      std::string_view bytes = bytes_[static_cast<size_t>(id)];
      const bool special = IsHidden(kind) || kind == TokenKind::kUserDefined;
      if (begins_text && !special && kind != TokenKind::kByte && bytes.starts_with(' ')) bytes.remove_prefix(1);
      if (show_special || !IsHidden(kind)) text += bytes;
      begins_text = special && text_model().blank_prefix == BlankPrefix::kAlways;
    }
    return text;
  }

  int32_t vocab_size() const override { return static_cast<int32_t>(vocabulary().spellings.size()); }
  std::optional<int32_t> bos() const override { return vocabulary().bos; }
  std::optional<int32_t> eos() const override { return vocabulary().eos; }
  bool add_bos() const override { return tables_.add_bos; }
  std::optional<int32_t> FindToken(std::string_view spelling) const override {
    return FindId(vocabulary().ids, spelling);
  }
  std::optional<std::string> chat_template() const override { return tables_.chat_template; }

 private:
  static bool IsHidden(TokenKind kind) { return kind == TokenKind::kControl || kind == TokenKind::kUnknown; }
  TokenKind Kind(int32_t id) const { return vocabulary().kinds[static_cast<size_t>(id)]; }
  const Vocabulary& vocabulary() const { return *tables_.vocabulary; }
  const TextModel& text_model() const { return tables_.text_model; }

  absl::StatusOr<std::vector<int32_t>> EncodeAt(std::string_view text, bool parse_special, bool begins) const {
    if (text.size() > kMaxTextBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("the text has ", text.size(), " bytes; at most ", kMaxTextBytes, " can be encoded at once"));
    }
    std::vector<int32_t> ids;
    const auto use_token = [&ids](int32_t id) { ids.push_back(id); };
    const auto use_text = [&](std::string_view part) {
      return EncodePlain(part, parse_special, begins && part.data() == text.data(), &ids);
    };
    QZO_RETURN_IF_ERROR((parse_special ? special_ : blank_).Split(text, use_text, use_token));
    return ids;
  }

  absl::Status EncodePlain(std::string_view text, bool parse_special, bool begins, std::vector<int32_t>* ids) const {
    std::string normalized;
    if (!text_model().normalizer.empty()) {
      QZO_ASSIGN_OR_RETURN(normalized, text_model().normalizer.Apply(text));
      if (normalized.size() > kMaxNormalizedBytes)
        return absl::InvalidArgumentError(absl::StrCat("the text has ", normalized.size(), " bytes once normalized"));
      text = normalized;
    }
    const auto use_token = [ids](int32_t id) { ids->push_back(id); };
    const auto use_text = [&](std::string_view part) {
      QZO_ASSIGN_OR_RETURN(const Words words,
                           text_model().pretokenizer.Split(part, begins && part.data() == text.data()));
      text_model().word_model->Encode(words.words, ids);
      return absl::OkStatus();
    };
    if (parse_special) return special_normalized_.Split(text, use_text, use_token);
    return text.empty() ? absl::OkStatus() : use_text(text);
  }

  TokenizerTables tables_;
  std::vector<std::string> bytes_;  // what each token decodes to, by id
  AddedTokens special_;             // matched with parse_special
  AddedTokens special_normalized_;  // likewise, in normalized text
  // Runs of blanks that a family added to its vocabulary belong to ordinary text: the model was trained so. They are
  // matched always; other user-defined tokens are not, because chat markers are among them.
  AddedTokens blank_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTableTokenizer(TokenizerTables tables) {
  auto tokenizer = std::make_unique<TableTokenizer>(std::move(tables));
  QZO_RETURN_IF_ERROR(tokenizer->AddTokens());
  return tokenizer;
}

}  // namespace qzo::model
