#include "model/tokenizer/trie.h"

#include <gtest/gtest.h>

namespace qzo::model {
namespace {

TEST(Trie, FindsTheLongestPrefix) {
  Trie tokens;
  tokens.Add("<a", 1);
  tokens.Add("<a><b>", 2);
  tokens.Add("\xff", 3);
  tokens.Add("<a", 4);
  EXPECT_FALSE(tokens.LongestPrefix("").has_value());
  EXPECT_FALSE(tokens.LongestPrefix("x<a").has_value());
  EXPECT_FALSE(tokens.LongestPrefix("<").has_value());
  EXPECT_EQ(tokens.LongestPrefix("<a><c>")->id, 1) << "the first of two with one spelling, when the longer fails late";
  EXPECT_EQ(tokens.LongestPrefix("<a><c>")->size, 2u);
  EXPECT_EQ(tokens.LongestPrefix("<a><b>x")->id, 2);
  EXPECT_EQ(tokens.LongestPrefix("<a><b>x")->size, 6u);
  EXPECT_EQ(tokens.LongestPrefix("\xff")->id, 3);
}

}  // namespace
}  // namespace qzo::model
