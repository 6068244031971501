#include "model/tokenizer/gguf_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "model/tokenizer/byte_letters.h"
#include "model/tokenizer/pretokenizer_families.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/support/safetensors_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_vocabularies.h"

namespace qzo::model {
namespace {

using nlohmann::json;
using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

// Reads what was made as a GGUF file with nothing else in it.
std::unique_ptr<GgufFile> FileOf(const TokenizerInGguf& made, std::string* bytes) {
  *bytes = made.values.Header(0);
  auto file = GgufFile::ParseBytes(*bytes, "made");
  EXPECT_OK(file);
  return *std::move(file);
}

class GgufTables : public ::testing::Test {
 protected:
  absl::StatusOr<TokenizerInGguf> Make(const json& tokenizer, const json& config = json::object(), int32_t rows = 0) {
    files_ = {{"tokenizer.json", tokenizer.dump()},
              {"tokenizer_config.json", config.dump()},
              {"model.safetensors", testing::SafetensorsBuilder().Finish()}};
    auto checkpoint = Checkpoint::FromFiles({files_.begin(), files_.end()}, "dir");
    EXPECT_OK(checkpoint);
    checkpoint_ = *std::move(checkpoint);
    return TokenizerToGguf(*checkpoint_, rows);
  }

  std::map<std::string, std::string> files_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

// All bytes, and pieces that show where words end.
json ByteLevelBpe(const json& pre_tokenizer, bool whole_words) {
  json vocabulary = json::object(), merges = json::array();
  for (int byte = 0; byte < 256; ++byte) vocabulary[testing::ByteLetter(byte)] = byte;
  const auto merge = [&](const std::string& left, const std::string& right) {
    vocabulary[left + right] = static_cast<int>(vocabulary.size());
    merges.push_back(left + " " + right);
  };
  for (const auto& [left, right] : {std::pair{"1", "2"},
                                    {"3", "4"},
                                    {"12", "34"},
                                    {"5", "6"},
                                    {"I", "T"},
                                    {"'", "S"},
                                    {"(", "b"},
                                    {"_", "b"},
                                    {".", "."},
                                    {"?", "?"},
                                    {"h", "e"},
                                    {"l", "l"}}) {
    merge(left, right);
  }
  return {{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}, {"ignore_merges", whole_words}}},
          {"pre_tokenizer", pre_tokenizer}};
}

json Splits(const std::string& family) {
  json parts = json::array();
  for (const std::string_view pattern : FindPretokenizerFamily(family)->patterns) {
    parts.push_back({{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}});
  }
  parts.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", parts}};
}

TEST_F(GgufTables, ThePreTokenizerIsTheOneThatSplitsAlike) {
  for (const char* family : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    ASSERT_OK_AND_ASSIGN(const TokenizerInGguf made,
                         Make(ByteLevelBpe(Splits(family), std::string(family) == "llama-bpe")));
    EXPECT_EQ(made.differing, 0);
    std::string bytes;
    const auto file = FileOf(made, &bytes);
    EXPECT_EQ(file->GetString("tokenizer.ggml.model").value(), "gpt2");
    EXPECT_EQ(file->GetString("tokenizer.ggml.pre").value(), family);
    ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(*file));
    ASSERT_OK_AND_ASSIGN(const auto source, MakeTokenizer(*checkpoint_));
    for (const char* text : {"12345 IT'S (bhell)??", "n\xc3\xa4he ll\n\n  1234"}) {
      EXPECT_EQ(tokenizer->Encode(text, false).value(), source->Encode(text, false).value());
    }
  }
}

TEST_F(GgufTables, TokensKeepTheirKindsAndUnusedOnesFollow) {
  json tokenizer = ByteLevelBpe({{"type", "ByteLevel"}, {"add_prefix_space", false}}, false);
  tokenizer["added_tokens"] = {{{"id", 268}, {"content", "<s>"}, {"special", true}},
                               {{"id", 270}, {"content", "<tab>"}, {"special", false}}};
  ASSERT_OK_AND_ASSIGN(
      const TokenizerInGguf made,
      Make(tokenizer, {{"bos_token", "<s>"}, {"add_bos_token", true}, {"chat_template", "{{x}}"}}, 272));
  std::string bytes;
  const auto file = FileOf(made, &bytes);
  const std::vector<int64_t> kinds = file->GetInts("tokenizer.ggml.token_type").value();
  ASSERT_EQ(kinds.size(), 272u);
  EXPECT_EQ(kinds[0], testing::kNormalToken);
  EXPECT_EQ(kinds[268], testing::kControlToken);
  EXPECT_EQ(kinds[270], testing::kUserDefinedToken);
  EXPECT_EQ(kinds[269], 5);
  EXPECT_EQ(file->GetStrings("tokenizer.ggml.tokens").value()[271], "[PAD271]");
  EXPECT_EQ(file->GetUint("tokenizer.ggml.bos_token_id").value(), 268u);
  EXPECT_TRUE(file->GetBool("tokenizer.ggml.add_bos_token").value());
  EXPECT_FALSE(file->HasKey("tokenizer.ggml.eos_token_id"));
  EXPECT_EQ(file->GetString("tokenizer.chat_template").value(), "{{x}}");
}

// As converters write SentencePiece's models: byte tokens, then pieces, and a merge for every way to join a piece.
json SentencePiece(const std::vector<std::pair<std::string, std::string>>& merges, bool prefix) {
  json vocabulary = {{"<unk>", 0}};
  char name[8];
  for (int byte = 0; byte < 256; ++byte) {
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    vocabulary[name] = byte + 1;
  }
  const auto add = [&](const std::string& piece) {
    if (!vocabulary.contains(piece)) vocabulary[piece] = static_cast<int>(vocabulary.size());
  };
  for (char c = 'a'; c <= 'z'; ++c) add(std::string(1, c));
  add("\u2581");
  json pairs = json::array();
  for (const auto& [left, right] : merges) {
    add(left + right);
    pairs.push_back(json::array({left, right}));
  }
  json steps = json::array({{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}});
  if (prefix) steps.insert(steps.begin(), json({{"type", "Prepend"}, {"prepend", "\u2581"}}));
  return {{"model",
           {{"type", "BPE"},
            {"vocab", vocabulary},
            {"merges", pairs},
            {"unk_token", "<unk>"},
            {"byte_fallback", true},
            {"fuse_unk", true}}},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", steps}}}};
}

TEST_F(GgufTables, RanksOfMergesBecomeScores) {
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"l", "l"}, {"h", "e"}, {"\u2581", "t"}, {"ll", "o"}, {"he", "llo"}, {"\u2581t", "he"}, {"\u2581", "hello"}};
  for (const bool prefix : {true, false}) {
    ASSERT_OK_AND_ASSIGN(const TokenizerInGguf made, Make(SentencePiece(merges, prefix)));
    EXPECT_EQ(made.differing, 0);
    std::string bytes;
    const auto file = FileOf(made, &bytes);
    EXPECT_EQ(file->GetString("tokenizer.ggml.model").value(), "llama");
    EXPECT_EQ(file->GetBool("tokenizer.ggml.add_space_prefix").value(), prefix);
    ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizer(*file));
    ASSERT_OK_AND_ASSIGN(const auto source, MakeTokenizer(*checkpoint_));
    for (const char* text : {"hello the othello", "thehellothell \xe4\xb8\x96"}) {
      EXPECT_EQ(tokenizer->Encode(text, false).value(), source->Encode(text, false).value());
    }
    EXPECT_EQ(tokenizer->Encode("hello", false).value().size(), 1u);
  }
}

// Scores join whatever makes a piece; merges, only what they list.
TEST_F(GgufTables, ATokenizerThatMakesOtherTokensIsRefused) {
  json tokenizer = SentencePiece({{"b", "c"}}, false);
  for (const char* piece : {"ab", "de", "xyz", "wx"}) {
    tokenizer["model"]["vocab"][piece] = static_cast<int>(tokenizer["model"]["vocab"].size());
  }
  EXPECT_THAT(Make(tokenizer), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("dir/tokenizer.json: no tokenizer that GGUF files name")));
  EXPECT_THAT(Make({{"model", {{"type", "BPE"}, {"vocab", {{"a", 0}}}, {"merges", json::array()}}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no tokenizer that GGUF files name")));
}

}  // namespace
}  // namespace qzo::model
