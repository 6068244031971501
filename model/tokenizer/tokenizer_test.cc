#include "model/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/text.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_vocabularies.h"

namespace qzo::model {
namespace {

using ::qzo::testing::GgufBuilder;
using ::qzo::testing::StatusIs;
using ::qzo::testing::TestFile;
using ::qzo::testing::TinyByteLevelVocabulary;
using ::qzo::testing::TinySentencePieceVocabulary;
using ::qzo::testing::TinyVocabulary;
using ::qzo::testing::TokenizerGguf;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

using TokenizerOr = absl::StatusOr<std::unique_ptr<Tokenizer>>;

// The file is gone when this returns: a tokenizer keeps nothing of it.
TokenizerOr Make(const GgufBuilder& builder) {
  const std::string bytes = builder.Finish();
  return MakeTokenizer(*GgufFile::ParseBytes(bytes, "x.gguf").value());
}
TokenizerOr Open(const std::string& path) { return MakeTokenizer(*GgufFile::Open(path).value()); }

std::string Read(const std::string& path) { return base::RealFileSystem()->Read(path).value(); }

// Texts that are awkward somewhere: blanks, scripts, joined emoji, contractions, digits, controls.
std::vector<std::string> AwkwardTexts() {
  return {"",
          " ",
          "  ",
          "   x",
          "hello",
          " hello",
          "a  b\t\tc\n\n\nd \n",
          "I'LL we've it's 'tis",
          "0 12 345 6789 ½ ٣٤",
          "naïve café",
          "нещо на Български",
          "កាន់តែពិសេស",
          "我想在apple工作～",
          "😶‍🌫️🏽",
          "a\u3000\u00a0b\u2028",
          std::string("\0x\x01\x7f", 4),
          "[tool] <|end|> </s>",
          "(((!!!---===)))",
          std::string(5000, 'h'),
          std::string(5000, ' ')};
}

TEST(ByteLevelTokenizer, MergesByRank) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(TinyByteLevelVocabulary(), "gpt2", "gpt-2")));
  const int32_t hello = *tokenizer->FindToken("hello");
  EXPECT_THAT(tokenizer->Encode("hello hello", false).value(), ElementsAre(hello, *tokenizer->FindToken("Ġhello")));
  EXPECT_THAT(tokenizer->Encode("hel", false).value(), ElementsAre(*tokenizer->FindToken("he"), 4 + 'l'))
      << "'h e' comes before 'e l'";
  EXPECT_THAT(tokenizer->Encode("lll", false).value(), ElementsAre(*tokenizer->FindToken("ll"), 4 + 'l'))
      << "leftmost first";
  EXPECT_EQ(tokenizer->FindToken("absent"), std::nullopt);
}

TEST(ByteLevelTokenizer, RoundTripsEveryText) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(TinyByteLevelVocabulary(), "gpt2", "gpt-2")));
  std::vector<std::string> texts = AwkwardTexts();
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  texts.push_back(bytes);
  texts.push_back(std::string(1000, '\xff'));
  for (const std::string& text : texts) {
    for (const bool parse_special : {false, true}) {
      ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode(text, parse_special));
      EXPECT_EQ(tokenizer->Decode(ids, true).value(), text);
    }
  }
}

TEST(ByteLevelTokenizer, WhatAUserWroteNeverBecomesASpecialToken) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(TinyByteLevelVocabulary(), "gpt2", "gpt-2")));
  EXPECT_THAT(tokenizer->Encode("<|end|>", true).value(), ElementsAre(0));
  EXPECT_THAT(tokenizer->Encode("<|end|>", false).value(),
              ElementsAre(*tokenizer->FindToken("<|"), *tokenizer->FindToken("end"), *tokenizer->FindToken("|>")));
  EXPECT_THAT(tokenizer->Encode("[tool]", true).value(), ElementsAre(3));
  EXPECT_EQ(tokenizer->Encode("[tool]", false).value().size(), 6u);
  EXPECT_THAT(tokenizer->Encode("a   b", false).value(), ElementsAre(4 + 'a', 2, 4 + ' ', 4 + 'b'))
      << "runs of blanks are text";
  EXPECT_THAT(tokenizer->Encode("<|user|>hello<|end|><|end|>", true).value(),
              ElementsAre(1, *tokenizer->FindToken("hello"), 0, 0));
}

TEST(ByteLevelTokenizer, HidesControlTokensUnlessAsked) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(TinyByteLevelVocabulary(), "gpt2", "gpt-2")));
  EXPECT_EQ(tokenizer->Decode({1, 4 + 'a', 3, 0}, false).value(), "a[tool]");
  EXPECT_EQ(tokenizer->Decode({1, 4 + 'a', 3, 0}, true).value(), "<|user|>a[tool]<|end|>");
  EXPECT_THAT(tokenizer->Decode({tokenizer->vocab_size()}, false), StatusIs(kInvalid, HasSubstr("is not in 0…")));
  EXPECT_THAT(tokenizer->Decode({-1}, false), StatusIs(kInvalid, HasSubstr("token id -1")));
}

TEST(ByteLevelTokenizer, TakesWholeWordsWhereTheFamilyDoes) {
  TinyVocabulary vocabulary = TinyByteLevelVocabulary();
  const int32_t whole = vocabulary.Add("lle", testing::kNormalToken);  // no merges lead there
  ASSERT_OK_AND_ASSIGN(auto by_merges, Make(TokenizerGguf(vocabulary, "gpt2", "qwen2")));
  ASSERT_OK_AND_ASSIGN(auto whole_words, Make(TokenizerGguf(vocabulary, "gpt2", "llama-bpe")));
  EXPECT_THAT(by_merges->Encode("lle", false).value(), ElementsAre(*by_merges->FindToken("ll"), 4 + 'e'));
  EXPECT_THAT(whole_words->Encode("lle", false).value(), ElementsAre(whole));
}

TEST(ByteLevelTokenizer, LeavesOutBytesWithoutAToken) {
  TinyVocabulary vocabulary = TinyByteLevelVocabulary();
  vocabulary.tokens[4 + 0x04] = "unrelated";
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(vocabulary, "gpt2", "gpt-2")));
  EXPECT_THAT(tokenizer->Encode("a\x04z", false).value(), ElementsAre(4 + 'a', 4 + 'z'));
}

TEST(ByteLevelTokenizer, RefusesInconsistentTables) {
  const auto error = [](auto change) {
    TinyVocabulary vocabulary = TinyByteLevelVocabulary();
    change(&vocabulary);
    return Make(TokenizerGguf(vocabulary, "gpt2", "gpt-2")).status();
  };
  EXPECT_THAT(error([](TinyVocabulary* v) { v->tokens.clear(); }),
              StatusIs(kInvalid, HasSubstr("tokenizer.ggml.tokens has 0 entries")));
  EXPECT_THAT(error([](TinyVocabulary* v) { v->kinds.pop_back(); }),
              StatusIs(kInvalid, HasSubstr("token_type has 270 entries, but there are 271 tokens")));
  EXPECT_THAT(error([](TinyVocabulary* v) { v->kinds[7] = 9; }),
              StatusIs(kInvalid, HasSubstr("of token 7 is 9, expected 0 to 6")));
  for (const char* merge : {"ab", "a ", " b", "a b c", ""}) {
    EXPECT_THAT(error([&](TinyVocabulary* v) { v->merges[1] = merge; }),
                StatusIs(kInvalid, AllOf(HasSubstr("tokenizer.ggml.merges[1]"), HasSubstr("two pieces"))));
  }
  EXPECT_THAT(error([](TinyVocabulary* v) { v->merges[0] = "q q"; }),
              StatusIs(kInvalid, HasSubstr("merges[0] 'q q' has or makes a piece")));
}

TEST(SentencePieceTokenizer, JoinsByScoreAndPrefixesABlank) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(TinySentencePieceVocabulary(), "llama", "default")));
  const auto id = [&](const char* spelling) { return *tokenizer->FindToken(spelling); };
  EXPECT_THAT(tokenizer->Encode("ab", false).value(), ElementsAre(id("▁ab")));
  EXPECT_THAT(tokenizer->Encode("ba b", false).value(), ElementsAre(id("▁"), id("b"), id("a"), id("▁"), id("b")));
  EXPECT_THAT(tokenizer->Encode("  a", false).value(), ElementsAre(id("▁▁"), id("▁a"))) << "leftmost of equals";
  EXPECT_THAT(tokenizer->Encode("", false).value(), ElementsAre());
  EXPECT_THAT(tokenizer->Encode("é\xff\n☃", false).value(),
              ElementsAre(id("▁"), id("é"), 3 + 0xFF, 3 + '\n', 3 + 0xE2, 3 + 0x98, 3 + 0x83));
}

TEST(SentencePieceTokenizer, RoundTripsEveryText) {
  for (const bool add_space_prefix : {true, false}) {
    GgufBuilder builder = TokenizerGguf(TinySentencePieceVocabulary(), "llama", "default");
    ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(builder.Bool("tokenizer.ggml.add_space_prefix", add_space_prefix)));
    for (const std::string& text : AwkwardTexts()) {
      for (const bool parse_special : {false, true}) {
        ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode(text, parse_special));
        EXPECT_EQ(tokenizer->Decode(ids, true).value(), text) << add_space_prefix;
      }
    }
  }
}

TEST(SentencePieceTokenizer, WhatAUserWroteNeverBecomesASpecialToken) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(TinySentencePieceVocabulary(), "llama", "default")));
  const auto id = [&](const char* spelling) { return *tokenizer->FindToken(spelling); };
  EXPECT_THAT(tokenizer->Encode("</s>", false).value(), ElementsAre(id("▁"), id("</s"), id(">")));
  EXPECT_THAT(tokenizer->Encode("<0x41>", false).value(), ::testing::Not(::testing::Contains(3 + 0x41)));
  EXPECT_THAT(tokenizer->Encode("a</s>a", true).value(), ElementsAre(id("▁a"), 2, id("▁a")));
  EXPECT_EQ(tokenizer->Decode({1, id("▁a"), 2, id("▁a")}, false).value(), "aa");
  EXPECT_EQ(tokenizer->Decode({1, id("▁a"), id("▁a")}, true).value(), "<s>a a");
}

TEST(SentencePieceTokenizer, FallsBackToTheUnknownTokenWithoutByteTokens) {
  TinyVocabulary vocabulary = TinySentencePieceVocabulary();
  vocabulary.tokens[3 + 0xC3] = "unrelated";
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(vocabulary, "llama", "default")));
  EXPECT_THAT(tokenizer->Encode("ä", false).value(), ElementsAre(*tokenizer->FindToken("▁"), 0, 3 + 0xA4));
}

TEST(SentencePieceTokenizer, RefusesInconsistentTables) {
  TinyVocabulary vocabulary = TinySentencePieceVocabulary();
  vocabulary.scores[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Make(TokenizerGguf(vocabulary, "llama", "")), StatusIs(kInvalid, HasSubstr("scores[5] is not finite")));
  vocabulary.scores.pop_back();
  EXPECT_THAT(Make(TokenizerGguf(vocabulary, "llama", "")),
              StatusIs(kInvalid, HasSubstr("scores has 273 entries, but there are 274")));
  GgufBuilder no_fallback;
  no_fallback.String("tokenizer.ggml.model", "llama")
      .Strings("tokenizer.ggml.tokens", {"a"})
      .Floats("tokenizer.ggml.scores", {0});
  EXPECT_THAT(Make(no_fallback), StatusIs(kInvalid, HasSubstr("neither a byte token <0x00> nor")));
}

TEST(SentencePieceTokenizer, UserDefinedRunsOfBlanksAreText) {
  TinyVocabulary vocabulary = TinySentencePieceVocabulary();
  vocabulary.kinds[static_cast<size_t>(3 + 256 + 7)] = testing::kUserDefinedToken;  // two blanks, as in Gemma
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(vocabulary, "llama", "default")));
  const int32_t blanks = *tokenizer->FindToken("▁▁");
  EXPECT_THAT(tokenizer->Encode("  a", false).value(), ElementsAre(blanks, *tokenizer->FindToken("▁a")));
  EXPECT_EQ(tokenizer->Decode({*tokenizer->FindToken("a"), blanks}, false).value(), "a  ");
}

// Pieces of TinySentencePieceVocabulary, whose scores fall with their ids.
TEST(UnigramTokenizer, TakesTheLikeliestPieces) {
  const auto builder = [] { return TokenizerGguf(TinySentencePieceVocabulary(), "t5", ""); };
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(builder()));
  const auto id = [&](const char* spelling) { return *tokenizer->FindToken(spelling); };
  EXPECT_THAT(tokenizer->Encode("ab", false).value(), ElementsAre(id("▁"), id("a"), id("b")));
  EXPECT_THAT(tokenizer->Encode("  a", false).value(), ElementsAre(id("▁"), id("▁"), id("▁"), id("a")));
  EXPECT_THAT(tokenizer->Encode("é☃", false).value(), ElementsAre(id("▁"), id("é"), 3 + 0xE2, 3 + 0x98, 3 + 0x83));
  ASSERT_OK_AND_ASSIGN(auto collapsing, Make(builder().Bool("tokenizer.ggml.remove_extra_whitespaces", true)));
  EXPECT_THAT(collapsing->Encode("  a  ", false).value(), ElementsAre(id("▁"), id("a")));
  EXPECT_THAT(collapsing->Encode("▁a ▁▁", false).value(), ElementsAre(id("▁"), id("▁"), id("a")));
  EXPECT_FALSE(tokenizer->add_bos());
}

TEST(UnigramTokenizer, RoundTripsEveryText) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(TinySentencePieceVocabulary(), "t5", "")));
  for (const std::string& text : AwkwardTexts()) {
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text, false).value(), true).value(), text);
  }
}

TEST(UnigramTokenizer, RefusesADamagedCharsmap) {
  EXPECT_THAT(Make(TokenizerGguf(TinySentencePieceVocabulary(), "t5", "")
                       .Int32s("tokenizer.ggml.precompiled_charsmap", {255, 255})),
              StatusIs(kInvalid, "x.gguf: tokenizer.ggml.precompiled_charsmap: found 2 bytes, expected 4 at least"));
}

TEST(Tokenizer, TakesSpecialIdsFromTheFile) {
  const auto sentence_piece = [] { return TokenizerGguf(TinySentencePieceVocabulary(), "llama", "default"); };
  const auto byte_level = [](const char* pre) {
    return TokenizerGguf(TinyByteLevelVocabulary(), "gpt2", pre).Uint32("tokenizer.ggml.bos_token_id", 0);
  };
  ASSERT_OK_AND_ASSIGN(
      auto named,
      Make(sentence_piece().Uint32("tokenizer.ggml.bos_token_id", 1).Uint32("tokenizer.ggml.eos_token_id", 2)));
  EXPECT_EQ(named->bos(), 1);
  EXPECT_EQ(named->eos(), 2);
  EXPECT_TRUE(named->add_bos()) << "SentencePiece models begin with BOS unless the file says otherwise";
  EXPECT_FALSE(Make(sentence_piece()).value()->add_bos()) << "there is none";
  EXPECT_EQ(Make(sentence_piece()).value()->bos(), std::nullopt);
  EXPECT_FALSE(Make(byte_level("gpt-2")).value()->add_bos());
  EXPECT_TRUE(Make(byte_level("llama-bpe")).value()->add_bos());
  EXPECT_TRUE(Make(byte_level("gpt-2").Bool("tokenizer.ggml.add_bos_token", true)).value()->add_bos());
  EXPECT_THAT(Make(sentence_piece().Uint32("tokenizer.ggml.eos_token_id", 5000)),
              StatusIs(kInvalid, HasSubstr("eos_token_id is 5000, but there are 274")));
  EXPECT_THAT(Make(sentence_piece().Bool("tokenizer.ggml.add_bos_token", true)),
              StatusIs(kInvalid, HasSubstr("bos_token_id is missing")));
}

TEST(Tokenizer, NamesWhatIsSupported) {
  EXPECT_THAT(Make(GgufBuilder()), StatusIs(kInvalid, HasSubstr("key 'tokenizer.ggml.model' is missing")));
  EXPECT_THAT(Make(TokenizerGguf({}, "bert", "")),
              StatusIs(kInvalid, AllOf(HasSubstr("'bert'"), HasSubstr("supported are gpt2"))));
  EXPECT_THAT(Make(TokenizerGguf(TinyByteLevelVocabulary(), "gpt2", "superbpe")),
              StatusIs(kInvalid, AllOf(HasSubstr("x.gguf: the pre-tokenizer 'superbpe'"), HasSubstr("gpt-2, "),
                                       HasSubstr("smollm"))));
}

TEST(Tokenizer, RefusesTextsBeyondItsLimit) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Make(TokenizerGguf(TinyByteLevelVocabulary(), "gpt2", "gpt-2")));
  const std::string text((size_t{1} << 28) + 1, 'x');
  EXPECT_THAT(tokenizer->Encode(text, false), StatusIs(kInvalid, HasSubstr("268435457 bytes")));
}

TEST(SmolLm2Tokenizer, GivesTheReferenceIds) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Open(TestFile("golden/models/smollm2/tokenizer.gguf")));
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_FALSE(tokenizer->add_bos());
  int cases = 0;
  for (const absl::string_view line :
       absl::StrSplit(Read(TestFile("golden/models/smollm2/tokenizer_golden.jsonl")), '\n', absl::SkipEmpty())) {
    const auto golden = nlohmann::json::parse(line);
    const std::string text = golden["text"];
    ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode(text, false));
    EXPECT_EQ(ids, golden["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer->Decode(ids, false).value(), text);
    ++cases;
  }
  EXPECT_EQ(cases, 47);
}

TEST(SmolLm2Tokenizer, ComesWithItsChatTemplate) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Open(TestFile("golden/models/smollm2/tokenizer.gguf")));
  EXPECT_THAT(tokenizer->chat_template().value_or(""), HasSubstr("<|im_start|>"));
}

TEST(SmolLm2Tokenizer, ReadsChatMarkersOnlyWhenAsked) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Open(TestFile("golden/models/smollm2/tokenizer.gguf")));
  const std::string chat = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n";
  ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode(chat, true));
  EXPECT_THAT(ids, ElementsAre(1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198));
  EXPECT_EQ(tokenizer->Decode(ids, true).value(), chat);
  EXPECT_EQ(tokenizer->Decode(ids, false).value(), "user\nWhat is the capital of France?\n");
  ASSERT_OK_AND_ASSIGN(const auto plain, tokenizer->Encode(chat, false));
  EXPECT_THAT(plain, ::testing::Each(::testing::Gt(16))) << "no control token";
  EXPECT_EQ(tokenizer->Decode(plain, false).value(), chat);
}

TEST(Stories260KTokenizer, DecodesTheReferenceContinuation) {
  const std::string directory = TestFile("golden/models/stories260k/");
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Open(directory + "stories260K-Q4_0.gguf"));
  EXPECT_TRUE(tokenizer->add_bos());
  const auto reference = nlohmann::json::parse(Read(directory + "reference.json"));
  const auto ids = reference["greedy_ids"].get<std::vector<int32_t>>();
  // The reference was decoded piece by piece: byte tokens as they are spelled, the blank before the text kept.
  const std::string text = absl::StrReplaceAll(reference["greedy_text"].get<std::string>(), {{"<0x0A>", "\n"}});
  EXPECT_EQ(" " + tokenizer->Decode(ids, false).value(), text);
  EXPECT_THAT(tokenizer->Decode(ids, true).value(), HasSubstr("<s>Once upon a time"));
}

TEST(Stories260KTokenizer, RoundTrips) {
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Open(TestFile("golden/models/stories260k/stories260K-F32.gguf")));
  for (const std::string& text : AwkwardTexts()) {
    ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode(text, false));
    EXPECT_EQ(tokenizer->Decode(ids, false).value(), text);
  }
  EXPECT_THAT(tokenizer->Encode("Once upon a time", false).value(), ElementsAre(403, 407, 261, 378));
}

// llama.cpp's vocabulary-only files with its expected ids (ggml-vocab-*.gguf, .gguf.inp, .gguf.out), which are not
// shipped.
class FamilyVocabulary : public ::testing::TestWithParam<const char*> {};

TEST_P(FamilyVocabulary, GivesTheReferenceIds) {
  const char* directory = std::getenv("QZO_VOCAB_DIR");
  if (directory == nullptr) GTEST_SKIP() << "QZO_VOCAB_DIR does not name a folder with llama.cpp's vocabulary files";
  const std::string path = std::string(directory) + "/ggml-vocab-" + GetParam() + ".gguf";
  ASSERT_OK_AND_ASSIGN(auto tokenizer, Open(path));
  const std::vector<std::string> texts = absl::StrSplit(Read(path + ".inp"), "\n__ggml_vocab_test__\n");
  const std::vector<std::string> lines = absl::StrSplit(Read(path + ".out"), '\n');
  ASSERT_GE(lines.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<int32_t> expected;
    for (const absl::string_view number : absl::StrSplit(lines[i], ' ', absl::SkipEmpty())) {
      ASSERT_TRUE(absl::SimpleAtoi(number, &expected.emplace_back()));
    }
    ASSERT_OK_AND_ASSIGN(const auto ids, tokenizer->Encode(texts[i], false));
    EXPECT_EQ(ids, expected) << texts[i];
    EXPECT_EQ(tokenizer->Decode(ids, false).value(), texts[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, FamilyVocabulary, ::testing::Values("gpt-2", "mpt", "phi-3", "falcon"),
                         [](const auto& param_info) {
                           return absl::StrReplaceAll(param_info.param, {{"-", ""}});
                         });

}  // namespace
}  // namespace qzo::model
