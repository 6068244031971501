#include "model/tokenizer/pretokenize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_join.h"
#include "model/tokenizer/byte_letters.h"
#include "model/tokenizer/pretokenizer_families.h"
#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

// The words of a family's pre-tokenizer.
std::vector<std::string> Split(std::string_view family, std::string_view text) {
  const Pretokenizer pretokenizer = MakePretokenizer(*FindPretokenizerFamily(family)).value();
  const absl::StatusOr<Words> split = pretokenizer.Split(text, true);
  EXPECT_OK(split);
  std::vector<std::string> words;
  for (const std::string_view word : split->words) words.push_back(BytesOfLetters(word));
  return words;
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

TEST(Pretokenize, DeepSeekSplitsLettersPunctuationAndChineseApart) {
  EXPECT_THAT(Split("deepseek-llm", "I've 123 我想go  "),
              ElementsAre("I", "'", "ve", " ", "123", " ", "我想", "go", "  "));
  EXPECT_THAT(Split("deepseek-coder", "x=12\n\n我"), ElementsAre("x", "=", "1", "2", "\n", "\n", "我"));
  EXPECT_THAT(Split("deepseek-v3", "(word 12345\n カナ!x"),
              ElementsAre("(word", " ", "123", "45", "\n", " ", "カナ", "!x"));
}

TEST(Pretokenize, Gpt4oKeepsContractionsWithTheWord) {
  EXPECT_THAT(Split("gpt-4o", "I'll camelCase 1234"), ElementsAre("I'll", " camel", "Case", " ", "123", "4"));
  EXPECT_THAT(Split("llama-bpe", "I'll"), ElementsAre("I", "'ll"));
}

TEST(Pretokenize, OtherFamilies) {
  EXPECT_THAT(Split("qwen35", "नमस्ते e\u0301"), ElementsAre("नमस्ते", " e\u0301"));
  EXPECT_THAT(Split("bloom", "a, b|c"), ElementsAre("a", ",", " b", "|", "c"));
  EXPECT_THAT(Split("viking", "a12"), ElementsAre("a", "1", "2"));
  EXPECT_THAT(Split("seed-coder", "!\n"), ElementsAre("!", "\n"));
  EXPECT_THAT(Split("bailingmoe", "!\n\n\nI'M"), ElementsAre("!\n\n\n", "I", "'M"));
}

TEST(Pretokenize, WhatMatchesGoesWhereItsBehaviorSays) {
  using Behavior = Pretokenizer::Behavior;
  const auto split = [](Behavior behavior, bool invert = false) {
    Pretokenizer pretokenizer;
    EXPECT_OK(pretokenizer.AddSplit("[,;]", behavior, invert));
    const absl::StatusOr<Words> words = pretokenizer.Split("a,;b,c", true);
    return std::vector<std::string>(words->words.begin(), words->words.end());
  };
  EXPECT_THAT(split(Behavior::kRemoved), ElementsAre("a", "b", "c"));
  EXPECT_THAT(split(Behavior::kIsolated), ElementsAre("a", ",", ";", "b", ",", "c"));
  EXPECT_THAT(split(Behavior::kMergedWithPrevious), ElementsAre("a,", ";", "b,", "c"));
  EXPECT_THAT(split(Behavior::kMergedWithNext), ElementsAre("a", ",", ";b", ",c"));
  EXPECT_THAT(split(Behavior::kContiguous), ElementsAre("a", ",;", "b", ",", "c"));
  EXPECT_THAT(split(Behavior::kRemoved, true), ElementsAre(",", ";", ","));
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
                                          std::string(300'000, ' ') + "1",
                                          std::string(300'000, '\t') + "!",
                                          std::string(300'000, 'a'),
                                          std::string(300'000, '!'),
                                          std::string(300'000, '7'),
                                          std::string(300'000, '\n'),
                                          std::string(300'000, 'A')};
  std::set<const PretokenizerFamily*> tried;
  for (const std::string& name : SupportedPretokenizers()) {
    if (!tried.insert(FindPretokenizerFamily(name)).second) continue;
    for (const std::string& text : texts) EXPECT_EQ(absl::StrJoin(Split(name, text), ""), text) << name;
  }
}

TEST(Pretokenize, UnknownFamiliesAreNotFound) { EXPECT_EQ(FindPretokenizerFamily("gpt-2 "), nullptr); }

}  // namespace
}  // namespace qzo::model
