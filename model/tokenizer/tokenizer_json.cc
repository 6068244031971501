#include "model/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/fs.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/formats/json_text.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/json_components.h"
#include "model/tokenizer/table_tokenizer.h"
#include "model/tokenizer/unigram.h"

namespace qzo::model {
namespace {

using nlohmann::json;

// Ids, so that a small file cannot ask for much memory.
constexpr int32_t kMaxVocabulary = 1 << 21;

absl::StatusOr<json> Parse(std::string_view text, std::string_view file) {
  if (JsonNestsTooDeep(text)) {
    return absl::InvalidArgumentError(absl::StrCat(base::ToAbsl(file), ": nests too deep"));
  }
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(base::ToAbsl(file), ": ", error.what()));
  }
}

// A token at an id; the table grows as needed.
void Put(int32_t id, std::string spelling, TokenKind kind, Vocabulary* vocabulary) {
  const auto index = static_cast<size_t>(id);
  if (index >= vocabulary->spellings.size()) {
    vocabulary->spellings.resize(index + 1);
    vocabulary->kinds.resize(index + 1, TokenKind::kUnused);
  }
  vocabulary->spellings[index] = std::move(spelling);
  vocabulary->kinds[index] = kind;
}

// {"piece": id, …}
absl::Status ReadBpeVocabulary(const JsonAt& vocab, Vocabulary* vocabulary) {
  if (!vocab.is_object()) return vocab.Expected("an object");
  for (const auto& item : vocab.value().items()) {
    QZO_ASSIGN_OR_RETURN(const int32_t id, JsonAt(item.value(), vocab.where()).Id(kMaxVocabulary));
    if (static_cast<size_t>(id) < vocabulary->spellings.size() &&
        vocabulary->kinds[static_cast<size_t>(id)] != TokenKind::kUnused) {
      return vocab.Error("two tokens have the id ", id);
    }
    Put(id, item.key(), TokenKind::kNormal, vocabulary);
  }
  return absl::OkStatus();
}

// [["piece", score], …]
absl::StatusOr<std::vector<double>> ReadUnigramVocabulary(const JsonAt& vocab, Vocabulary* vocabulary) {
  if (!vocab.is_array()) return vocab.Expected("an array");
  if (vocab.size() > static_cast<size_t>(kMaxVocabulary))
    return vocab.Error(vocab.size(), " tokens, at most ", kMaxVocabulary, " are supported");
  std::vector<double> scores;
  for (size_t i = 0; i < vocab.size(); ++i) {
    const JsonAt entry = vocab[i];
    if (!entry.is_array() || entry.size() != 2 || !entry.value()[1].is_number())
      return entry.Expected("a piece and its score");
    QZO_ASSIGN_OR_RETURN(std::string piece, entry[size_t{0}].String());
    scores.push_back(entry.value()[1].get<double>());
    if (!std::isfinite(scores.back())) return entry.Error("a score that is not finite");
    Put(static_cast<int32_t>(i), std::move(piece), TokenKind::kNormal, vocabulary);
  }
  return scores;
}

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonAt& list, Vocabulary* vocabulary) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  if (!list.is_array()) return list.Expected("an array");
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonAt entry = list[i];
    AddedToken token;
    QZO_ASSIGN_OR_RETURN(token.id, entry["id"].Id(kMaxVocabulary));
    QZO_ASSIGN_OR_RETURN(token.spelling, entry["content"].String());
    QZO_ASSIGN_OR_RETURN(token.strips_left, entry["lstrip"].BoolOr(false));
    QZO_ASSIGN_OR_RETURN(token.strips_right, entry["rstrip"].BoolOr(false));
    QZO_ASSIGN_OR_RETURN(token.single_word, entry["single_word"].BoolOr(false));
    QZO_ASSIGN_OR_RETURN(token.normalized, entry["normalized"].BoolOr(false));
    QZO_ASSIGN_OR_RETURN(const bool special, entry["special"].BoolOr(false));
    if (token.spelling.empty()) return entry["content"].Error("empty");
    Put(token.id, token.spelling, special ? TokenKind::kControl : TokenKind::kUserDefined, vocabulary);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// A token that the model or the configuration names.
absl::StatusOr<std::optional<int32_t>> FindNamed(const JsonAt& field, const Vocabulary& vocabulary) {
  const JsonAt name = field.is_object() ? field["content"] : field;
  if (name.is_null()) return std::nullopt;
  QZO_ASSIGN_OR_RETURN(const std::string spelling, name.String());
  const std::optional<int32_t> id = FindId(vocabulary.ids, spelling);
  if (!id.has_value()) return name.Error("'", spelling, "' is not in the vocabulary");
  return id;
}

// Views into the document.
absl::StatusOr<std::vector<Bpe::Merge>> ReadMerges(const JsonAt& model) {
  const JsonAt list = model["merges"];
  if (!list.is_array()) return list.Expected("an array");
  std::vector<Bpe::Merge> merges;
  merges.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const json& entry = list.value()[i];
    if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      merges.emplace_back(entry[0].get_ref<const std::string&>(), entry[1].get_ref<const std::string&>());
      continue;
    }
    if (!entry.is_string()) return list[i].Expected("two pieces");
    const absl::StatusOr<Bpe::Merge> merge = Bpe::ParseMerge(entry.get_ref<const std::string&>());
    if (!merge.ok()) return list[i].Error(merge.status().message());
    merges.push_back(*merge);
  }
  return merges;
}

absl::StatusOr<std::unique_ptr<const WordModel>> MakeBpe(const JsonAt& model, const Vocabulary& vocabulary,
                                                         BpeMerges* copied) {
  Bpe::Options options{.unknown = vocabulary.unknown};
  QZO_ASSIGN_OR_RETURN(options.whole_words, model["ignore_merges"].BoolOr(false));
  QZO_ASSIGN_OR_RETURN(options.byte_fallback, model["byte_fallback"].BoolOr(false));
  QZO_ASSIGN_OR_RETURN(options.fuse_unknown, model["fuse_unk"].BoolOr(false));
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    QZO_ASSIGN_OR_RETURN(const std::string affix, model[key].StringOr(""));
    if (!affix.empty()) return model[key].Error("'", affix, "' is not supported");
  }
  if (const JsonAt dropout = model["dropout"]; !dropout.is_null() && dropout.value() != 0)
    return dropout.Error("dropout is not supported");
  QZO_ASSIGN_OR_RETURN(const std::vector<Bpe::Merge> merges, ReadMerges(model));
  absl::StatusOr<std::unique_ptr<Bpe>> bpe = Bpe::Make(vocabulary, merges, options);
  if (!bpe.ok()) return model.Error(bpe.status().message());
  if (copied != nullptr) copied->assign(merges.begin(), merges.end());
  return *std::move(bpe);
}

// Byte tokens stand for bytes alone.
void MarkByteTokens(Vocabulary* vocabulary) {
  for (size_t id = 0; id < vocabulary->spellings.size(); ++id) {
    const std::string& s = vocabulary->spellings[id];
    if (s.size() == 6 && s.starts_with("<0x") && s[5] == '>' && vocabulary->kinds[id] == TokenKind::kNormal)
      vocabulary->kinds[id] = TokenKind::kByte;
  }
}

// Ordinary text may become the model's own pieces, user-defined ones among them, but neither control nor byte tokens.
void IndexSpellings(const std::vector<bool>& is_piece, Vocabulary* vocabulary) {
  for (size_t id = 0; id < vocabulary->spellings.size(); ++id) {
    const TokenKind kind = vocabulary->kinds[id];
    if (kind == TokenKind::kUnused) continue;
    vocabulary->ids.emplace(vocabulary->spellings[id], static_cast<int32_t>(id));
    const bool is_text = kind == TokenKind::kNormal || kind == TokenKind::kUserDefined;
    if (is_text && id < is_piece.size() && is_piece[id])
      vocabulary->text_ids.emplace(vocabulary->spellings[id], static_cast<int32_t>(id));
  }
}

absl::Status ReadModel(const JsonAt& root, Vocabulary* vocabulary, TokenizerTables* tables, BpeMerges* merges) {
  const JsonAt model = root["model"];
  if (!model.is_object()) return model.Expected("an object");
  // Old files do not say.
  QZO_ASSIGN_OR_RETURN(const std::string type, model["type"].StringOr(model["merges"].is_null() ? "Unigram" : "BPE"));
  std::vector<double> scores;
  if (type == "BPE") {
    QZO_RETURN_IF_ERROR(ReadBpeVocabulary(model["vocab"], vocabulary));
  } else if (type == "Unigram") {
    QZO_ASSIGN_OR_RETURN(scores, ReadUnigramVocabulary(model["vocab"], vocabulary));
  } else {
    return model["type"].Error("'", type, "' is not supported; supported are BPE, Unigram");
  }
  std::vector<bool> is_piece(vocabulary->spellings.size());
  for (size_t id = 0; id < is_piece.size(); ++id) is_piece[id] = vocabulary->kinds[id] == TokenKind::kNormal;
  QZO_ASSIGN_OR_RETURN(tables->added_tokens, ReadAddedTokens(root["added_tokens"], vocabulary));
  if (vocabulary->spellings.empty()) return model["vocab"].Error("empty");
  QZO_ASSIGN_OR_RETURN(const bool byte_fallback, model["byte_fallback"].BoolOr(false));
  if (byte_fallback) MarkByteTokens(vocabulary);
  IndexSpellings(is_piece, vocabulary);
  if (type == "BPE") {
    QZO_ASSIGN_OR_RETURN(vocabulary->unknown, FindNamed(model["unk_token"], *vocabulary));
  } else if (!model["unk_id"].is_null()) {
    QZO_ASSIGN_OR_RETURN(vocabulary->unknown, model["unk_id"].Id(static_cast<int32_t>(vocabulary->spellings.size())));
  }
  if (vocabulary->unknown.has_value()) {
    const auto unknown = static_cast<size_t>(*vocabulary->unknown);
    vocabulary->kinds[unknown] = TokenKind::kUnknown;
    vocabulary->text_ids.erase(vocabulary->spellings[unknown]);
  }
  if (type == "BPE") {
    QZO_ASSIGN_OR_RETURN(tables->text_model.word_model, MakeBpe(model, *vocabulary, merges));
  } else if (merges != nullptr) {
    return model["type"].Error("'", type, "', which has no merges, expected BPE");
  } else {
    scores.resize(vocabulary->spellings.size());
    auto unigram = Unigram::Make(*vocabulary, std::move(scores), byte_fallback);
    if (!unigram.ok()) return model.Error(unigram.status().message());
    tables->text_model.word_model = *std::move(unigram);
  }
  return absl::OkStatus();
}

// A template, or a list of them of which "default" counts.
absl::StatusOr<std::optional<std::string>> ReadChatTemplate(const JsonAt& field) {
  if (field.is_null()) return std::nullopt;
  if (!field.is_array()) return field.String();
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i]["name"].value() == "default") return field[i]["template"].String();
  }
  return std::nullopt;
}

absl::Status ReadConfig(const JsonAt& config, Vocabulary* vocabulary, TokenizerTables* tables) {
  QZO_ASSIGN_OR_RETURN(const std::optional<int32_t> bos, FindNamed(config["bos_token"], *vocabulary));
  if (bos.has_value()) vocabulary->bos = bos;
  QZO_ASSIGN_OR_RETURN(vocabulary->eos, FindNamed(config["eos_token"], *vocabulary));
  const JsonAt add_bos = config["add_bos_token"];
  QZO_ASSIGN_OR_RETURN(tables->add_bos, add_bos.BoolOr(tables->add_bos));
  if (tables->add_bos && !vocabulary->bos.has_value()) return add_bos.Error("true, but there is no bos_token");
  QZO_ASSIGN_OR_RETURN(tables->chat_template, ReadChatTemplate(config["chat_template"]));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerTables> ReadTokenizerJson(const TokenizerFiles& files, BpeMerges* merges) {
  QZO_ASSIGN_OR_RETURN(const json document, Parse(files.tokenizer, "tokenizer.json"));
  const JsonAt root(document, "tokenizer.json: ");
  if (!root.is_object()) return root.Expected("an object");
  auto vocabulary = std::make_unique<Vocabulary>();
  TokenizerTables tables;
  QZO_RETURN_IF_ERROR(ReadNormalizer(root["normalizer"], &tables.text_model));
  QZO_RETURN_IF_ERROR(ReadPretokenizer(root["pre_tokenizer"], &tables.text_model));
  QZO_RETURN_IF_ERROR(CheckDecoder(root["decoder"]));
  QZO_RETURN_IF_ERROR(ReadModel(root, vocabulary.get(), &tables, merges));
  QZO_ASSIGN_OR_RETURN(vocabulary->bos,
                       ReadPostProcessor(root["post_processor"], static_cast<int32_t>(vocabulary->spellings.size())));
  tables.add_bos = vocabulary->bos.has_value();
  if (!files.config.empty()) {
    QZO_ASSIGN_OR_RETURN(const json config, Parse(files.config, "tokenizer_config.json"));
    const JsonAt config_root(config, "tokenizer_config.json: ");
    if (!config_root.is_object()) return config_root.Expected("an object");
    QZO_RETURN_IF_ERROR(ReadConfig(config_root, vocabulary.get(), &tables));
  }
  if (!files.chat_template.empty()) tables.chat_template = std::string(files.chat_template);
  tables.vocabulary = std::move(vocabulary);
  return tables;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizerFromJson(const TokenizerFiles& files) {
  QZO_ASSIGN_OR_RETURN(TokenizerTables tables, ReadTokenizerJson(files, nullptr));
  return MakeTableTokenizer(std::move(tables));
}

namespace {

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeFor(const std::string& directory, const TokenizerFiles& files) {
  auto made = MakeTokenizerFromJson(files);
  if (made.ok()) return made;
  return absl::Status(made.status().code(), absl::StrCat(directory, "/", made.status().message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const Checkpoint& checkpoint) {
  const std::string_view tokenizer = checkpoint.File("tokenizer.json");
  if (tokenizer.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(checkpoint.path(), ": tokenizer.json is missing"));
  }
  return MakeFor(checkpoint.path(), {.tokenizer = tokenizer,
                                     .config = checkpoint.File("tokenizer_config.json"),
                                     .chat_template = checkpoint.File("chat_template.jinja")});
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizerFromDirectory(const std::string& directory) {
  base::FileSystem* const fs = base::RealFileSystem();
  QZO_ASSIGN_OR_RETURN(const std::string tokenizer, fs->Read(directory + "/tokenizer.json"));
  const auto read_if_there = [&](const char* name) -> absl::StatusOr<std::string> {
    absl::StatusOr<std::string> bytes = fs->Read(absl::StrCat(directory, "/", name));
    return absl::IsNotFound(bytes.status()) ? "" : bytes;
  };
  QZO_ASSIGN_OR_RETURN(const std::string config, read_if_there("tokenizer_config.json"));
  QZO_ASSIGN_OR_RETURN(const std::string chat_template, read_if_there("chat_template.jinja"));
  return MakeFor(directory, {.tokenizer = tokenizer, .config = config, .chat_template = chat_template});
}

}  // namespace qzo::model
