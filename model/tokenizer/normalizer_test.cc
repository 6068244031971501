#include "model/tokenizer/normalizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

using Form = Normalizer::Form;

std::string Apply(Normalizer::Step step, std::string_view text) {
  Normalizer normalizer;
  normalizer.Add(std::move(step));
  return normalizer.Apply(text).value();
}

TEST(Normalizer, UnicodeFormsLeaveInvalidBytesAlone) {
  EXPECT_EQ(Apply(Form::kNfc, "e\u0301\xff\u1100\u1161"), "\u00e9\xff\uac00");
  EXPECT_EQ(Apply(Form::kNfd, "\u00e9"), "e\u0301");
  EXPECT_EQ(Apply(Form::kNfkc, "\ufb01\u2460e\u0301"), "fi1\u00e9");
  EXPECT_EQ(Apply(Form::kNfkd, "\u00bd"), "1\u20442");
  EXPECT_EQ(Apply(Form::kNfc, std::string("a\0b", 3)), std::string("a\0b", 3));
}

TEST(Normalizer, LowerCaseIsOfEachCharacter) {
  EXPECT_EQ(Apply(Normalizer::Lowercase{}, "ÀΣ\u0130Z\xfe"), "àσi\u0307z\xfe");
}

TEST(Normalizer, StripsAndCollapses) {
  EXPECT_EQ(Apply(Normalizer::Strip{true, false}, "\u3000 a "), "a ");
  EXPECT_EQ(Apply(Normalizer::Strip{false, true}, " a\u2003\n"), " a");
  EXPECT_EQ(Apply(Normalizer::Strip{true, true}, " \t "), "");
  EXPECT_EQ(Apply(Normalizer::CollapseBlanks{}, "  a   b\t c  "), "a b\t c");
  EXPECT_EQ(Apply(Normalizer::CollapseBlanks{}, "   "), "");
}

TEST(Normalizer, PrependsToWhatIsNotEmpty) {
  EXPECT_EQ(Apply(Normalizer::Prepend{"_"}, "\xff"), "_\xff");
  EXPECT_EQ(Apply(Normalizer::Prepend{"_"}, ""), "");
}

// A double array with "a" → "x" and "ab" → "": unit 0 leads by 'a' to 'a', whose leaf is at its offset.
TEST(Normalizer, CharsmapsReplaceTheLongestString) {
  std::vector<uint32_t> units(0x400);
  const auto set = [&units](uint32_t at, uint32_t label, uint32_t offset, bool leaf) {
    units[at] = offset << 10 | (leaf ? 0x100u : 0) | label;
  };
  set(0, 0, 0x100, false);
  set(0x100 ^ 'a', 'a', 0x161 ^ 0x200, true);  // its children stand at 0x200 ^ byte, its value at 0x200
  units[0x200] = 0;                            // "x" begins at 0
  set(0x200 ^ 'b', 'b', 0x262 ^ 0x300, true);
  units[0x300] = 2;  // ""
  std::string bytes =
      std::string("\0\x10\0\0", 4) + std::string(reinterpret_cast<const char*>(units.data()), units.size() * 4);
  bytes += std::string("x\0\0", 3);
  ASSERT_OK_AND_ASSIGN(Charsmap map, Charsmap::Parse(bytes));
  EXPECT_EQ(map.Normalize("ca\xff"
                          "abb"),
            "cx\xff"
            "b");
  EXPECT_FALSE(Charsmap::Parse("abc").ok());
  EXPECT_FALSE(Charsmap::Parse(std::string("\3\0\0\0xyz", 7)).ok());
}

}  // namespace
}  // namespace qzo::model
