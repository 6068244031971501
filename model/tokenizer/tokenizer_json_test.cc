#include "model/tokenizer/tokenizer_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/fs.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

using ::nlohmann::json;
using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

using TokenizerOr = absl::StatusOr<std::unique_ptr<Tokenizer>>;

TokenizerOr Make(const json& tokenizer, const json& config = nullptr) {
  const std::string text = tokenizer.dump();
  const std::string config_text = config.is_null() ? "" : config.dump();
  return MakeTokenizerFromJson({.tokenizer = text, .config = config_text});
}

// Ids 0 to 6 "a", "b", "c", "ab", "▁", "▁ab", "<unk>"; added are 7 "<s>" and 8 "</s>" (special) and 9 "<tool>".
json BpeJson() {
  return json::parse(R"json({
    "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "added_tokens": [
      {"id": 7, "content": "<s>", "special": true, "normalized": false},
      {"id": 8, "content": "</s>", "special": true, "normalized": false},
      {"id": 9, "content": "<tool>", "special": false, "normalized": false}],
    "model": {"type": "BPE", "unk_token": "<unk>",
      "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "▁": 4, "▁ab": 5, "<unk>": 6},
      "merges": ["a b", ["▁", "ab"]]}})json");
}

std::vector<int32_t> Ids(const TokenizerOr& tokenizer, std::string_view text, bool parse_special = false) {
  EXPECT_OK(tokenizer);
  return tokenizer.ok() ? (*tokenizer)->Encode(text, parse_special).value() : std::vector<int32_t>();
}

TEST(TokenizerJson, BpeJoinsByRankAndKnowsNoOtherCharacters) {
  const TokenizerOr tokenizer = Make(BpeJson());
  EXPECT_THAT(Ids(tokenizer, "abcab"), ElementsAre(3, 2, 3));
  EXPECT_THAT(Ids(tokenizer, "axyb"), ElementsAre(0, 6, 6, 1));
  json fused = BpeJson();
  fused["model"]["fuse_unk"] = true;
  EXPECT_THAT(Ids(Make(fused), "axyb"), ElementsAre(0, 6, 1));
  EXPECT_EQ((*tokenizer)->vocab_size(), 10);
}

TEST(TokenizerJson, WhatNestsTooDeepForAnyStackIsRefused) {
  const std::string deep = "{\"model\":" + std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}";
  EXPECT_THAT(MakeTokenizerFromJson({.tokenizer = deep, .config = "", .chat_template = ""}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer.json: nests too deep")));
}

TEST(TokenizerJson, BytesStandForUnknownCharacters) {
  json source = BpeJson();
  source["model"]["byte_fallback"] = true;
  source["model"]["vocab"]["<0xC3>"] = 10;
  source["model"]["vocab"]["<0xA9>"] = 11;
  const TokenizerOr tokenizer = Make(source);
  EXPECT_THAT(Ids(tokenizer, "aéb"), ElementsAre(0, 10, 11, 1));
  EXPECT_THAT(Ids(tokenizer, "aèb"), ElementsAre(0, 6, 1)) << "one of the bytes has no token";
  EXPECT_THAT(Ids(tokenizer, "a\xC3z"), ElementsAre(0, 10, 6)) << "an invalid byte";
  EXPECT_EQ((*tokenizer)->Decode({0, 10, 11}, true).value(), "aé");
}

TEST(TokenizerJson, AddedTokensTakeWhiteSpaceAlongWhereTheyAreAskedTo) {
  json source = BpeJson();
  source["added_tokens"][2]["lstrip"] = true;
  source["added_tokens"][2]["rstrip"] = true;
  const TokenizerOr tokenizer = Make(source);
  EXPECT_THAT(Ids(tokenizer, "a \u2003<tool>\n b", true), ElementsAre(0, 9, 1));
  EXPECT_THAT(Ids(tokenizer, "a <s>b", true), ElementsAre(0, 6, 7, 1));
  EXPECT_THAT(Ids(tokenizer, "<s>", false), ElementsAre(6, 6, 6)) << "what a user wrote";
}

TEST(TokenizerJson, SingleWordTokensAreFoundOnlyBetweenWords) {
  json source = BpeJson();
  source["added_tokens"].push_back({{"id", 10}, {"content", "ca"}, {"single_word", true}});
  const TokenizerOr tokenizer = Make(source);
  EXPECT_THAT(Ids(tokenizer, "ca", true), ElementsAre(10));
  EXPECT_THAT(Ids(tokenizer, "cab", true), ElementsAre(2, 3));
  EXPECT_THAT(Ids(tokenizer, "aca", true), ElementsAre(0, 2, 0));
  EXPECT_THAT(Ids(tokenizer, "éca-", true), ElementsAre(6, 2, 0, 6));
  EXPECT_THAT(Ids(tokenizer, "-ca-", true), ElementsAre(6, 10, 6));
}

TEST(TokenizerJson, NormalizedTokensAreFoundInNormalizedText) {
  json source = BpeJson();
  source["normalizer"] = {{"type", "Lowercase"}};
  source["added_tokens"].push_back({{"id", 10}, {"content", "CA"}, {"normalized", true}});
  EXPECT_THAT(Ids(Make(source), "AbCa<S><s>", true), ElementsAre(3, 10, 6, 6, 6, 7));
}

TEST(TokenizerJson, MetaspacePutsABlankWhereItsSchemeSays) {
  const auto with_scheme = [](const char* scheme) {
    json source = BpeJson();
    source["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}};
    return Make(source);
  };
  EXPECT_THAT(Ids(with_scheme("always"), "ab<s>ab", true), ElementsAre(5, 7, 5));
  EXPECT_THAT(Ids(with_scheme("first"), "ab<s>ab", true), ElementsAre(5, 7, 3));
  EXPECT_THAT(Ids(with_scheme("never"), "ab<s> ab", true), ElementsAre(3, 7, 5));
  const TokenizerOr first = with_scheme("first");
  EXPECT_THAT((*first)->EncodeContinuation("ab", false).value(), ElementsAre(3));
  EXPECT_EQ((*first)->Decode({5, 7, 3}, true).value(), "ab<s>ab");
  EXPECT_EQ((*with_scheme("always"))->Decode({5, 7, 5}, true).value(), "ab<s>ab");
}

TEST(TokenizerJson, UnigramTakesTheLikeliestPieces) {
  json source = BpeJson();
  source["model"] = json::parse(
      R"json({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1], ["b", -1], ["ab", -1.5], ["ba", -1.4]]})json");
  const TokenizerOr tokenizer = Make(source);
  EXPECT_THAT(Ids(tokenizer, "aba"), ElementsAre(1, 4)) << "-2.4 is more than -2.5";
  EXPECT_THAT(Ids(tokenizer, "ab☃é"), ElementsAre(3, 0)) << "neighbours that are unknown are one";
  source["model"]["unk_id"] = nullptr;
  EXPECT_THAT(Make(source), StatusIs(kInvalid, HasSubstr("needs an unknown token")));
}

TEST(TokenizerJson, BosComesFromTheTemplateAndTheConfiguration) {
  json source = BpeJson();
  EXPECT_FALSE(Make(source).value()->add_bos());
  source["post_processor"] = json::parse(R"json({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [7], "tokens": ["<s>"]}}})json");
  ASSERT_OK_AND_ASSIGN(const auto by_template, Make(source));
  EXPECT_TRUE(by_template->add_bos());
  EXPECT_EQ(by_template->bos(), 7);
  const json config = {{"add_bos_token", false}, {"bos_token", {{"content", "</s>"}}}, {"eos_token", "</s>"}};
  ASSERT_OK_AND_ASSIGN(const auto configured, Make(source, config));
  EXPECT_FALSE(configured->add_bos());
  EXPECT_EQ(configured->bos(), 8);
  EXPECT_EQ(configured->eos(), 8);
  EXPECT_THAT(Make(BpeJson(), {{"eos_token", "<eos>"}}),
              StatusIs(kInvalid, "tokenizer_config.json: eos_token: '<eos>' is not in the vocabulary"));
  EXPECT_THAT(Make(BpeJson(), {{"add_bos_token", true}}), StatusIs(kInvalid, HasSubstr("there is no bos_token")));
}

TEST(TokenizerJson, ChatTemplatesAreTextsOrNamedLists) {
  EXPECT_EQ(Make(BpeJson()).value()->chat_template(), std::nullopt);
  EXPECT_EQ(Make(BpeJson(), {{"chat_template", "x"}}).value()->chat_template(), "x");
  const json list = json::parse(R"([{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}])");
  EXPECT_EQ(Make(BpeJson(), {{"chat_template", list}}).value()->chat_template(), "d");
}

TEST(TokenizerJson, DirectoriesHoldItAll) {
  const testing::TempDir directory;
  base::FileSystem* const fs = base::RealFileSystem();
  EXPECT_THAT(MakeTokenizerFromDirectory(directory.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("tokenizer.json")));
  ASSERT_OK(fs->WriteDurably(directory.path() + "/tokenizer.json", BpeJson().dump()));
  EXPECT_OK(MakeTokenizerFromDirectory(directory.path()));
  ASSERT_OK(fs->WriteDurably(directory.path() + "/tokenizer_config.json", R"({"eos_token": "</s>"})"));
  ASSERT_OK(fs->WriteDurably(directory.path() + "/chat_template.jinja", "jinja"));
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, MakeTokenizerFromDirectory(directory.path()));
  EXPECT_EQ(tokenizer->eos(), 8);
  EXPECT_EQ(tokenizer->chat_template(), "jinja");
  ASSERT_OK(fs->WriteDurably(directory.path() + "/tokenizer.json", "{"));
  EXPECT_THAT(MakeTokenizerFromDirectory(directory.path()),
              StatusIs(kInvalid, AllOf(HasSubstr(directory.path() + "/tokenizer.json: "), HasSubstr("parse error"))));
}

TEST(TokenizerJson, WhatIsNotSupportedIsRefusedByName) {
  const auto error = [](const char* pointer, const json& value) {
    json source = BpeJson();
    source[json::json_pointer(pointer)] = value;
    return Make(source).status();
  };
  EXPECT_THAT(error("/normalizer", {{"type", "BertNormalizer"}}),
              StatusIs(kInvalid, AllOf(HasSubstr("tokenizer.json: normalizer.type: 'BertNormalizer' is not supported"),
                                       HasSubstr("NFKC"))));
  EXPECT_THAT(
      error("/pre_tokenizer", json::parse(R"({"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"}]})")),
      StatusIs(kInvalid, HasSubstr("pre_tokenizer.pretokenizers[0].type: 'UnicodeScripts'")));
  EXPECT_THAT(error("/post_processor", {{"type", "BertProcessing"}}),
              StatusIs(kInvalid, HasSubstr("'BertProcessing'")));
  EXPECT_THAT(error("/decoder", {{"type", "CTC"}}), StatusIs(kInvalid, HasSubstr("decoder.type: 'CTC'")));
  EXPECT_THAT(error("/model/type", "WordPiece"), StatusIs(kInvalid, HasSubstr("'WordPiece' is not supported")));
  EXPECT_THAT(error("/model/continuing_subword_prefix", "##"), StatusIs(kInvalid, HasSubstr("'##' is not supported")));
  EXPECT_THAT(error("/model/dropout", 0.1), StatusIs(kInvalid, HasSubstr("dropout is not supported")));
  json deep = {{"type", "NFC"}};
  for (int i = 0; i < 9; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  EXPECT_THAT(error("/normalizer", deep), StatusIs(kInvalid, HasSubstr("more than 8 sequences")));
  for (const char* pattern : {"[a&&b]", "[a[b]]", "\\h", "(", "\\K", "[\\W]"}) {
    EXPECT_THAT(
        error("/pre_tokenizer", {{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", pattern}}}}),
        StatusIs(kInvalid, HasSubstr("pre_tokenizer.pattern: the regular expression")))
        << pattern;
  }
}

TEST(TokenizerJson, DefectsAreNamedWithTheirPlace) {
  const auto error = [](const char* pointer, const json& value) {
    json source = BpeJson();
    source[json::json_pointer(pointer)] = value;
    return Make(source).status();
  };
  EXPECT_THAT(Make(json::array()), StatusIs(kInvalid, HasSubstr("found array, expected an object")));
  EXPECT_THAT(error("/model/vocab/c", 0), StatusIs(kInvalid, HasSubstr("model.vocab: two tokens have the id 0")));
  EXPECT_THAT(error("/model/vocab/c", -1), StatusIs(kInvalid, HasSubstr("found -1, expected 0 to 2097151")));
  EXPECT_THAT(error("/model/vocab/c", 1 << 30), StatusIs(kInvalid, HasSubstr("expected 0 to 2097151")));
  EXPECT_THAT(error("/model/vocab/c", "2"), StatusIs(kInvalid, HasSubstr("found string, expected an integer")));
  EXPECT_THAT(error("/model/merges/0", "ab"), StatusIs(kInvalid, HasSubstr("model.merges[0]: 'ab' is not two pieces")));
  EXPECT_THAT(error("/model/merges/0", 3), StatusIs(kInvalid, HasSubstr("model.merges[0]: found number")));
  EXPECT_THAT(error("/model/merges/0", "q q"), StatusIs(kInvalid, HasSubstr("model: merges[0] 'q q' has or makes")));
  EXPECT_THAT(error("/model/unk_token", "?"), StatusIs(kInvalid, HasSubstr("'?' is not in the vocabulary")));
  EXPECT_THAT(error("/added_tokens/0/content", ""), StatusIs(kInvalid, HasSubstr("added_tokens[0].content: empty")));
  EXPECT_THAT(error("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}}),
              StatusIs(kInvalid, HasSubstr("a trie of 4294967295 bytes, but 0 follow")));
}

}  // namespace
}  // namespace qzo::model
