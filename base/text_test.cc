#include "base/text.h"

#include <gtest/gtest.h>

namespace qzo::base {
namespace {

TEST(Text, SuggestsTheNearestWord) {
  const std::vector<std::string> words = {"learning_rate", "epsilon", "probes"};
  EXPECT_EQ(DidYouMean("lerning_rate", words), " (did you mean 'learning_rate'?)");
  EXPECT_EQ(DidYouMean("probe", words), " (did you mean 'probes'?)");
  EXPECT_EQ(DidYouMean("zzzzzz", words), "");
}

TEST(Text, FindsTheFirstInvalidByte) {
  EXPECT_EQ(FindInvalidUtf8("plain, é, 漢, 🦙"), std::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("ab\xff"), 2u);
  EXPECT_EQ(FindInvalidUtf8("a\xc0\xaf"), 1u) << "overlong";
  EXPECT_EQ(FindInvalidUtf8("\xed\xa0\x80"), 0u) << "surrogate";
  EXPECT_EQ(FindInvalidUtf8("abc\xe2\x82"), 3u) << "truncated";
  EXPECT_EQ(FindInvalidUtf8("\xf4\x90\x80\x80"), 0u) << "past U+10FFFF";
}

TEST(Text, RendersBytesForPeople) {
  EXPECT_EQ(HumanBytes(37), "37 B");
  EXPECT_EQ(HumanBytes(1536), "1.5 KiB");
  EXPECT_EQ(HumanBytes(622080), "608 KiB");
}

}  // namespace
}  // namespace qzo::base
