#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/byte_level_bpe.h"
#include "model/tokenizer/pretokenize.h"
#include "model/tokenizer/sentencepiece_bpe.h"
#include "model/tokenizer/special_tokens.h"
#include "model/tokenizer/text_model.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/vocabulary.h"

namespace qzo::model {
namespace {

// Offsets within a text are 32 bits wide, and SentencePiece triples blanks.
constexpr size_t kMaxTextBytes = size_t{1} << 28;

bool IsBlank(std::string_view text) { return text.find_first_not_of(" \t\n\v\f\r") == std::string_view::npos; }

class TableTokenizer final : public Tokenizer {
 public:
  TableTokenizer(std::unique_ptr<const Vocabulary> vocabulary, std::unique_ptr<const TextModel> text_model,
                 bool add_bos)
      : vocabulary_(std::move(vocabulary)), text_model_(std::move(text_model)), add_bos_(add_bos) {
    for (int32_t id = 0; id < vocab_size(); ++id) {
      const std::string& spelling = vocabulary_->spellings[static_cast<size_t>(id)];
      const TokenKind kind = Kind(id);
      bytes_.push_back(IsHidden(kind) ? spelling : text_model_->Bytes(id));
      if (spelling.empty()) continue;
      if (kind == TokenKind::kControl || kind == TokenKind::kUserDefined) special_.Add(spelling, id);
      if (kind == TokenKind::kUserDefined && IsBlank(spelling)) blank_.Add(spelling, id);
    }
  }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    if (text.size() > kMaxTextBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("the text has ", text.size(), " bytes; at most ", kMaxTextBytes, " can be encoded at once"));
    }
    const SpecialTokens& tokens = parse_special ? special_ : blank_;
    std::vector<int32_t> ids;
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
      const std::optional<SpecialTokens::Match> match = tokens.LongestPrefix(text.substr(at));
      if (!match.has_value()) {
        ++at;
        continue;
      }
      if (at > begin) QZO_RETURN_IF_ERROR(text_model_->Encode(text.substr(begin, at - begin), &ids));
      ids.push_back(match->id);
      at += match->size;
      begin = at;
    }
    if (begin < text.size()) QZO_RETURN_IF_ERROR(text_model_->Encode(text.substr(begin), &ids));
    return ids;
  }

  absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids, bool show_special) const override {
    std::string text;
    bool begins_text = true;  // where Encode would have put a blank
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size()) {
        return absl::InvalidArgumentError(absl::StrCat("token id ", id, " is not in 0…", vocab_size() - 1));
      }
      const TokenKind kind = Kind(id);
      std::string_view bytes = bytes_[static_cast<size_t>(id)];
      const bool special = IsHidden(kind) || kind == TokenKind::kUserDefined;
      if (begins_text && !special && kind != TokenKind::kByte && text_model_->adds_space_prefix() &&
          bytes.starts_with(' ')) {
        bytes.remove_prefix(1);
      }
      if (show_special || !IsHidden(kind)) text += bytes;
      begins_text = special;
    }
    return text;
  }

  int32_t vocab_size() const override { return static_cast<int32_t>(vocabulary_->spellings.size()); }
  std::optional<int32_t> bos() const override { return vocabulary_->bos; }
  std::optional<int32_t> eos() const override { return vocabulary_->eos; }
  bool add_bos() const override { return add_bos_; }
  std::optional<int32_t> FindToken(std::string_view spelling) const override {
    return FindId(vocabulary_->ids, spelling);
  }

 private:
  static bool IsHidden(TokenKind kind) { return kind == TokenKind::kControl || kind == TokenKind::kUnknown; }
  TokenKind Kind(int32_t id) const { return vocabulary_->kinds[static_cast<size_t>(id)]; }

  const std::unique_ptr<const Vocabulary> vocabulary_;
  const std::unique_ptr<const TextModel> text_model_;
  const bool add_bos_;
  std::vector<std::string> bytes_;  // what each token decodes to, by id
  SpecialTokens special_;           // matched with parse_special
  // Runs of blanks that a family added to its vocabulary belong to ordinary text: the model was trained so. They are
  // matched always; other user-defined tokens are not, because chat markers are among them.
  SpecialTokens blank_;
};

absl::StatusOr<bool> LoadAddBos(const GgufFile& file, const Vocabulary& vocabulary, bool family_default) {
  constexpr std::string_view kKey = "tokenizer.ggml.add_bos_token";
  if (!file.HasKey(kKey)) return family_default && vocabulary.bos.has_value();
  QZO_ASSIGN_OR_RETURN(const bool add_bos, file.GetBool(kKey));
  if (add_bos && !vocabulary.bos.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": ", base::ToAbsl(kKey), " is true, but tokenizer.ggml.bos_token_id is missing"));
  }
  return add_bos;
}

absl::StatusOr<const PretokenizerFamily*> LoadFamily(const GgufFile& file) {
  constexpr std::string_view kKey = "tokenizer.ggml.pre";
  std::string_view name = "default";
  if (file.HasKey(kKey)) {
    QZO_ASSIGN_OR_RETURN(name, file.GetString(kKey));
  }
  if (const PretokenizerFamily* family = FindPretokenizerFamily(name); family != nullptr) return family;
  return absl::InvalidArgumentError(absl::StrCat(file.path(), ": the pre-tokenizer '", file.Describe(kKey),
                                                 "' (tokenizer.ggml.pre) is not supported; supported are ",
                                                 absl::StrJoin(SupportedPretokenizers(), ", ")));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeFromTables(const GgufFile& file) {
  QZO_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama") {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": the tokenizer '",
                                                   file.Describe("tokenizer.ggml.model"),
                                                   "' (tokenizer.ggml.model) is not supported; supported are gpt2 "
                                                   "(byte-level BPE) and llama (SentencePiece BPE)"));
  }
  QZO_ASSIGN_OR_RETURN(Vocabulary tables, LoadVocabulary(file));
  auto vocabulary = std::make_unique<const Vocabulary>(std::move(tables));
  std::unique_ptr<const TextModel> text_model;
  bool family_adds_bos = true;
  if (model == "gpt2") {
    QZO_ASSIGN_OR_RETURN(const PretokenizerFamily* family, LoadFamily(file));
    QZO_ASSIGN_OR_RETURN(text_model, ByteLevelBpe::Make(file, *vocabulary, *family));
    family_adds_bos = family->add_bos;
  } else {
    QZO_ASSIGN_OR_RETURN(text_model, SentencePieceBpe::Make(file, *vocabulary));
  }
  QZO_ASSIGN_OR_RETURN(const bool add_bos, LoadAddBos(file, *vocabulary, family_adds_bos));
  return std::make_unique<TableTokenizer>(std::move(vocabulary), std::move(text_model), add_bos);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const GgufFile& file) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = MakeFromTables(file);
  // To the caller, a file without the tables is a wrong file, not an absent one.
  if (absl::IsNotFound(tokenizer.status())) return absl::InvalidArgumentError(tokenizer.status().message());
  return tokenizer;
}

}  // namespace qzo::model
