// Tokenizers from the tables of GGUF files.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/pretokenizer_families.h"
#include "model/tokenizer/score_bpe.h"
#include "model/tokenizer/table_tokenizer.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/unigram.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

absl::StatusOr<bool> LoadBool(const GgufFile& file, std::string_view key, bool otherwise) {
  if (!file.HasKey(key)) return otherwise;
  return file.GetBool(key);
}

absl::StatusOr<bool> LoadAddBos(const GgufFile& file, const Vocabulary& vocabulary, bool family_default) {
  constexpr std::string_view kKey = "tokenizer.ggml.add_bos_token";
  QZO_ASSIGN_OR_RETURN(const bool add_bos, LoadBool(file, kKey, family_default && vocabulary.bos.has_value()));
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

absl::StatusOr<std::vector<float>> LoadScores(const GgufFile& file, const Vocabulary& vocabulary) {
  QZO_ASSIGN_OR_RETURN(std::vector<float> scores, file.GetFloats("tokenizer.ggml.scores"));
  if (scores.size() != vocabulary.spellings.size()) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tokenizer.ggml.scores has ", scores.size(),
                                                   " entries, but there are ", vocabulary.spellings.size(), " tokens"));
  }
  const auto bad = std::find_if(scores.begin(), scores.end(), [](float score) { return !std::isfinite(score); });
  if (bad != scores.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": tokenizer.ggml.scores[", bad - scores.begin(), "] is not finite"));
  }
  return scores;
}

absl::Status InFile(const GgufFile& file, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(file.path(), ": ", status.message()));
}

// "gpt2": byte-level BPE.
absl::StatusOr<TextModel> LoadByteLevelBpe(const GgufFile& file, const Vocabulary& vocabulary,
                                           const PretokenizerFamily& family) {
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string_view> lines, file.GetStrings("tokenizer.ggml.merges"));
  std::vector<Bpe::Merge> merges;
  for (const std::string_view line : lines) {
    const absl::StatusOr<Bpe::Merge> merge = Bpe::ParseMerge(line);
    if (!merge.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.path(), ": tokenizer.ggml.merges[", merges.size(), "] ", merge.status().message()));
    }
    merges.push_back(*merge);
  }
  TextModel model;
  model.spelling = Spelling::kByteLetters;
  QZO_ASSIGN_OR_RETURN(model.pretokenizer, MakePretokenizer(family));
  auto bpe = Bpe::Make(vocabulary, merges, {.whole_words = family.whole_words});
  if (!bpe.ok())
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tokenizer.ggml.", bpe.status().message()));
  model.word_model = *std::move(bpe);
  return model;
}

absl::Status AddBlankMarks(const GgufFile& file, TextModel* model) {
  model->spelling = Spelling::kBlankMarks;
  QZO_ASSIGN_OR_RETURN(const bool add_space_prefix, LoadBool(file, "tokenizer.ggml.add_space_prefix", true));
  if (add_space_prefix) {
    model->blank_prefix = BlankPrefix::kAlways;
    model->normalizer.Add(Normalizer::Prepend{std::string(kBlankMark)});
  }
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<Regex> blank, Regex::CompileLiteral(" "));
  model->normalizer.Add(Normalizer::Replace{std::move(blank), std::string(kBlankMark)});
  return absl::OkStatus();
}

// "llama": SentencePiece's BPE.
absl::StatusOr<TextModel> LoadScoreBpe(const GgufFile& file, const Vocabulary& vocabulary) {
  TextModel model;
  QZO_ASSIGN_OR_RETURN(std::vector<float> scores, LoadScores(file, vocabulary));
  QZO_RETURN_IF_ERROR(AddBlankMarks(file, &model));
  auto bpe = ScoreBpe::Make(vocabulary, std::move(scores));
  if (!bpe.ok()) return InFile(file, bpe.status());
  model.word_model = *std::move(bpe);
  return model;
}

// "t5": SentencePiece's unigram model.
absl::StatusOr<TextModel> LoadUnigram(const GgufFile& file, const Vocabulary& vocabulary) {
  TextModel model;
  constexpr std::string_view kCharsmapKey = "tokenizer.ggml.precompiled_charsmap";
  if (file.HasKey(kCharsmapKey)) {
    QZO_ASSIGN_OR_RETURN(const std::vector<int64_t> numbers, file.GetInts(kCharsmapKey));
    std::string bytes;
    for (const int64_t number : numbers) bytes += static_cast<char>(number);
    auto map = Charsmap::Parse(bytes);
    if (!map.ok())
      return InFile(file,
                    absl::InvalidArgumentError(absl::StrCat(base::ToAbsl(kCharsmapKey), ": ", map.status().message())));
    model.normalizer.Add(std::make_shared<const Charsmap>(*std::move(map)));
  }
  QZO_ASSIGN_OR_RETURN(const bool collapse, LoadBool(file, "tokenizer.ggml.remove_extra_whitespaces", false));
  if (collapse) model.normalizer.Add(Normalizer::CollapseBlanks{});
  QZO_RETURN_IF_ERROR(AddBlankMarks(file, &model));
  if (collapse) {  // marks that the text had are blanks by now
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<Regex> marks_at_end, Regex::Compile("(?<!\u2581)\u2581+\\z"));
    model.normalizer.Add(Normalizer::Replace{std::move(marks_at_end), ""});
  }
  QZO_ASSIGN_OR_RETURN(const std::vector<float> scores, LoadScores(file, vocabulary));
  auto unigram = Unigram::Make(vocabulary, {scores.begin(), scores.end()}, /*byte_fallback=*/true);
  if (!unigram.ok()) return InFile(file, unigram.status());
  model.word_model = *std::move(unigram);
  return model;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeFromTables(const GgufFile& file) {
  QZO_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama" && model != "t5") {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": the tokenizer '",
                                                   file.Describe("tokenizer.ggml.model"),
                                                   "' (tokenizer.ggml.model) is not supported; supported are gpt2 "
                                                   "(byte-level BPE), llama (SentencePiece BPE) and t5 (unigram)"));
  }
  TokenizerTables tables;
  QZO_ASSIGN_OR_RETURN(Vocabulary loaded, LoadVocabulary(file));
  auto vocabulary = std::make_unique<const Vocabulary>(std::move(loaded));
  bool adds_bos = model == "llama";
  if (model == "gpt2") {
    QZO_ASSIGN_OR_RETURN(const PretokenizerFamily* family, LoadFamily(file));
    QZO_ASSIGN_OR_RETURN(tables.text_model, LoadByteLevelBpe(file, *vocabulary, *family));
    adds_bos = family->add_bos;
  } else if (model == "llama") {
    QZO_ASSIGN_OR_RETURN(tables.text_model, LoadScoreBpe(file, *vocabulary));
  } else {
    QZO_ASSIGN_OR_RETURN(tables.text_model, LoadUnigram(file, *vocabulary));
  }
  QZO_ASSIGN_OR_RETURN(tables.add_bos, LoadAddBos(file, *vocabulary, adds_bos));
  for (size_t id = 0; id < vocabulary->kinds.size(); ++id) {
    const TokenKind kind = vocabulary->kinds[id];
    if (kind != TokenKind::kControl && kind != TokenKind::kUserDefined) continue;
    tables.added_tokens.push_back({.id = static_cast<int32_t>(id), .spelling = vocabulary->spellings[id]});
  }
  constexpr std::string_view kTemplateKey = "tokenizer.chat_template";
  if (file.HasKey(kTemplateKey)) {
    QZO_ASSIGN_OR_RETURN(const std::string_view text, file.GetString(kTemplateKey));
    tables.chat_template = std::string(text);
  }
  tables.vocabulary = std::move(vocabulary);
  return MakeTableTokenizer(std::move(tables));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const GgufFile& file) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = MakeFromTables(file);
  // To the caller, a file without the tables is a wrong file, not an absent one.
  if (absl::IsNotFound(tokenizer.status())) return absl::InvalidArgumentError(tokenizer.status().message());
  return tokenizer;
}

}  // namespace qzo::model
