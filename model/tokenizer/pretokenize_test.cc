#include "model/tokenizer/pretokenize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

std::vector<std::string_view> Split(std::string_view family, std::string_view text) {
  return Pretokenizer::Make(*FindPretokenizerFamily(family)).value()->Split(text).value();
}

TEST(Pretokenize, Gpt2KeepsOneBlankWithTheWord) {
  EXPECT_THAT(Split("gpt-2", "I've  done 12 things!!\n\n"),
              ElementsAre("I", "'ve", " ", " done", " 12", " things", "!!", "\n\n"));
  EXPECT_THAT(Split("gpt-2", ""), ElementsAre());
}

TEST(Pretokenize, SmolLmSplitsDigitsFirst) {
  EXPECT_THAT(Split("smollm", "a 12½b"), ElementsAre("a", " ", "1", "2", "½", "b"));
  EXPECT_EQ(Split("starcoder", "x = 10"), Split("refact", "x = 10"));
}

TEST(Pretokenize, FalconSplitsPunctuationAndThreesOfDigits) {
  EXPECT_THAT(Split("falcon", "cost: $12345"), ElementsAre("cost", ":", " ", "$", "123", "45"));
  EXPECT_THAT(Split("default", "`a`= 7"), ElementsAre("`", "a", "`", "=", " ", "7"));
}

TEST(Pretokenize, Llama3TakesOnePunctuationMarkWithTheWordAndThreeDigits) {
  EXPECT_THAT(Split("llama-bpe", "(word I'LL 12345\n x"),
              ElementsAre("(word", " I", "'LL", " ", "123", "45", "\n", " x"));
  EXPECT_THAT(Split("qwen2", "12 a"), ElementsAre("1", "2", " a"));
}

TEST(Pretokenize, TekkenSplitsAtLowerToUpperCase) {
  EXPECT_THAT(Split("tekken", "camelCaseHTTP/"), ElementsAre("camel", "Case", "HTTP", "/"));
}

TEST(Pretokenize, WhiteSpaceIsUnicodesOwn) {
  EXPECT_THAT(Split("gpt-2", "a\u3000\u3000b"), ElementsAre("a", "\u3000", "\u3000", "b"));
  EXPECT_THAT(Split("gpt-2", "!\u180E!"), ElementsAre("!\u180E!")) << "the Mongolian vowel separator is none";
}

TEST(Pretokenize, InvalidBytesAreWordsOfTheirOwn) {
  EXPECT_THAT(Split("gpt-2", "ab\xff\xfe c\xe2\x82"), ElementsAre("ab", "\xff", "\xfe", " c", "\xe2", "\x82"));
  EXPECT_THAT(Split("gpt-2", "\xed\xa0\x80"), ElementsAre("\xed", "\xa0", "\x80")) << "a surrogate";
}

TEST(Pretokenize, EveryFamilyCoversEveryTextWithoutGaps) {
  const std::vector<std::string> texts = {"plain words, 1234 and\tmore\r\n\r\n  x ",
                                          "L'été à Ζürich 😀🏽‍🚀 ½ ٣ 一二三 ไทย",
                                          std::string("\0nul\x01\x7f", 6),
                                          "\xc3(\xff\xf0\x9f\x98",
                                          std::string(300'000, ' ') + "x",
                                          std::string(300'000, 'a'),
                                          std::string(300'000, '!'),
                                          std::string(300'000, '7'),
                                          std::string(300'000, '\n'),
                                          std::string(300'000, 'A')};
  for (const std::string& name : SupportedPretokenizers()) {
    ASSERT_OK_AND_ASSIGN(const auto pretokenizer, Pretokenizer::Make(*FindPretokenizerFamily(name)));
    for (const std::string& text : texts) {
      ASSERT_OK_AND_ASSIGN(const std::vector<std::string_view> words, pretokenizer->Split(text));
      size_t at = 0;
      for (const std::string_view word : words) {
        ASSERT_EQ(word.data(), text.data() + at) << name;
        ASSERT_FALSE(word.empty()) << name;
        at += word.size();
      }
      EXPECT_EQ(at, text.size()) << name;
    }
  }
}

TEST(Pretokenize, UnknownFamiliesAreNotFound) { EXPECT_EQ(FindPretokenizerFamily("gpt-2 "), nullptr); }

}  // namespace
}  // namespace qzo::model
