#include "model/tokenizer/gguf_tables.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/pretokenizer_families.h"
#include "model/tokenizer/table_tokenizer.h"
#include "model/tokenizer/tokenizer_json.h"

namespace qzo::model {
namespace {

// Where pre-tokenizers differ: digits, contractions, runs of blanks and line ends, marks, scripts with and without case
// or blanks. Composed as far as Unicode composes, since GGUF files don't say whether texts are.
constexpr std::string_view kTexts[] = {
    "Hello, World! it's IT'S we'LL they'd I'VE 'tis don\u2019t",
    "1 22 333 4444 55555 1234567890 3.14 1,000,000 \u00bd \u00b2 \u2116 5 \u20ac100 $5 10% 0x1F v2.0b3 iPhone15",
    "one  two   three    four\n\nnew\r\n\tline\n  indented\n    more \n \n   ",
    "x=a+b; foo_bar(baz)[0] = {\"k\": 'v'} // ... --- *** ?! ?? <b>&amp;</b> `ls | wc` ~/a^b "
    "http://example.com/?q=1&r=2#t",
    "na\u00efve caf\u00e9 Stra\u00dfe \u0141\u00d3D\u0179 CamelCase ALLCAPS \u201cquotes\u201d \u2018q\u2019 \u2026 "
    "\u2014",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 \u0395\u03bb\u03bb\u03ac\u03b4\u03b1 "
    "\u0540\u0561\u0575 \u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8",
    "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3002\u30ab\u30bf\u30ab\u30ca\u3001\ud55c\uad6d\uc5b4 "
    "\u4f60\u597d123\uff0c\u4e16\u754c\uff01",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea "
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22 q\u0303 \U0001F600\U0001F44D\U0001F3FD",
};

absl::StatusOr<std::unique_ptr<Tokenizer>> Read(const GgufValues& values) {
  const std::string bytes = values.Header(0);
  QZO_ASSIGN_OR_RETURN(const auto file, GgufFile::ParseBytes(bytes, "the tokenizer made for GGUF"));
  return MakeTokenizer(*file);
}

absl::StatusOr<bool> Agree(const Tokenizer& a, const Tokenizer& b, std::string_view text) {
  QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> of_a, a.Encode(text, false));
  QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> of_b, b.Encode(text, false));
  return of_a == of_b;
}

// Tokens whose own text the two encode differently; nothing when they differ in one of kTexts.
absl::StatusOr<std::optional<int64_t>> CountDiffering(const Tokenizer& source, const Tokenizer& made) {
  for (const std::string_view text : kTexts) {
    QZO_ASSIGN_OR_RETURN(const bool agree, Agree(source, made, text));
    if (!agree) return std::nullopt;
  }
  int64_t differing = 0;
  for (int32_t id = 0; id < source.vocab_size(); ++id) {
    QZO_ASSIGN_OR_RETURN(const std::string text, source.Decode({id}, false));
    if (base::FindInvalidUtf8(text) != std::string_view::npos) continue;  // a part of a letter
    QZO_ASSIGN_OR_RETURN(const bool agree, Agree(source, made, text));
    differing += agree ? 0 : 1;
  }
  return differing;
}

GgufValues CommonValues(const TokenizerTables& tables, int32_t vocabulary) {
  const Vocabulary& from = *tables.vocabulary;
  std::vector<std::string> tokens = from.spellings;
  std::vector<int32_t> kinds;
  for (const TokenKind kind : from.kinds) kinds.push_back(static_cast<int32_t>(kind));
  const auto size = std::max(tokens.size(), static_cast<size_t>(vocabulary));
  kinds.resize(size, static_cast<int32_t>(TokenKind::kUnused));
  tokens.resize(size);
  for (size_t id = 0; id < size; ++id) {
    if (tokens[id].empty()) tokens[id] = absl::StrCat("[PAD", id, "]");
  }
  GgufValues values;
  values.Strings("tokenizer.ggml.tokens", tokens).Int32s("tokenizer.ggml.token_type", kinds);
  for (const auto& [key, id] : {std::pair{"bos", from.bos}, {"eos", from.eos}, {"unknown", from.unknown}}) {
    if (id) values.Uint32(absl::StrCat("tokenizer.ggml.", key, "_token_id"), static_cast<uint32_t>(*id));
  }
  values.Bool("tokenizer.ggml.add_bos_token", tables.add_bos);
  if (tables.chat_template) values.String("tokenizer.chat_template", *tables.chat_template);
  return values;
}

// SentencePiece joins the neighbours that make the piece of the highest score: the one whose first merge comes first.
std::vector<float> Scores(const Vocabulary& vocabulary, const BpeMerges& merges, size_t size) {
  std::vector<float> scores(size, -static_cast<float>(merges.size()));
  absl::flat_hash_map<std::string, size_t> ranks;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    ranks.emplace(absl::StrCat(merges[rank].first, merges[rank].second), rank);
  }
  for (const auto& [piece, rank] : ranks) {
    if (const auto id = FindId(vocabulary.ids, piece)) scores[static_cast<size_t>(*id)] = -static_cast<float>(rank);
  }
  return scores;
}

// The ways in which GGUF could have this tokenizer, the likelier ones first.
std::vector<GgufValues> Candidates(const TokenizerTables& tables, const BpeMerges& merges, int32_t vocabulary) {
  const GgufValues common = CommonValues(tables, vocabulary);
  std::vector<GgufValues> candidates;
  if (tables.text_model.spelling == Spelling::kBlankMarks) {
    const auto size = std::max(tables.vocabulary->spellings.size(), static_cast<size_t>(vocabulary));
    candidates.emplace_back()
        .String("tokenizer.ggml.model", "llama")
        .String("tokenizer.ggml.pre", "default")
        .Bool("tokenizer.ggml.add_space_prefix", tables.text_model.blank_prefix != BlankPrefix::kNever)
        .Floats("tokenizer.ggml.scores", Scores(*tables.vocabulary, merges, size))
        .Append(common);
  } else if (tables.text_model.spelling == Spelling::kByteLetters) {
    std::vector<std::string> lines;
    for (const auto& [left, right] : merges) lines.push_back(absl::StrCat(left, " ", right));
    GgufValues values;
    values.String("tokenizer.ggml.model", "gpt2").Strings("tokenizer.ggml.merges", lines).Append(common);
    for (const std::string_view pre : PretokenizerNames()) {
      candidates.emplace_back(values).String("tokenizer.ggml.pre", pre);
    }
  }
  return candidates;
}

absl::StatusOr<TokenizerInGguf> Make(const Checkpoint& checkpoint, int32_t vocabulary) {
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> source, MakeTokenizer(checkpoint));
  BpeMerges merges;
  QZO_ASSIGN_OR_RETURN(const TokenizerTables tables,
                       ReadTokenizerJson({.tokenizer = checkpoint.File("tokenizer.json"),
                                          .config = checkpoint.File("tokenizer_config.json"),
                                          .chat_template = checkpoint.File("chat_template.jinja")},
                                         &merges));
  for (GgufValues& values : Candidates(tables, merges, vocabulary)) {
    QZO_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> made, Read(values));
    QZO_ASSIGN_OR_RETURN(const std::optional<int64_t> differing, CountDiffering(*source, *made));
    if (differing && *differing * 100 <= source->vocab_size()) return TokenizerInGguf{std::move(values), *differing};
  }
  return absl::InvalidArgumentError(
      "tokenizer.json: no tokenizer that GGUF files name makes the same tokens of the same texts");
}

}  // namespace

absl::StatusOr<TokenizerInGguf> TokenizerToGguf(const Checkpoint& checkpoint, int32_t vocabulary) {
  absl::StatusOr<TokenizerInGguf> made = Make(checkpoint, vocabulary);
  if (made.ok() || absl::StartsWith(made.status().message(), checkpoint.path())) return made;
  return absl::Status(made.status().code(), absl::StrCat(checkpoint.path(), "/", made.status().message()));
}

}  // namespace qzo::model
