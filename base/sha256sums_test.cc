#include "base/sha256sums.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace qzo::base {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

const std::string kA(64, 'a'), kB(64, 'b');

TEST(Sha256SumsTest, ListsComeBackAsTheyWere) {
  const std::string text = kA + "  config.json\n" + kB + "  model-00001-of-00002.safetensors\n";
  ASSERT_OK_AND_ASSIGN(const std::vector<FileDigest> files, ParseSha256Sums(text));
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[1].name, "model-00001-of-00002.safetensors");
  EXPECT_EQ(files[1].digest, kB);
  EXPECT_EQ(WriteSha256Sums(files), text);
  EXPECT_TRUE(IsSha256Sums(text));
}

TEST(Sha256SumsTest, OtherFilesAreNoLists) {
  EXPECT_FALSE(IsSha256Sums("GGUF" + std::string(100, '\0')));
  EXPECT_FALSE(IsSha256Sums(kA + " *binary\n"));
  EXPECT_FALSE(IsSha256Sums(kA + "  "));
}

TEST(Sha256SumsTest, NamesThatLeadElsewhereAreRefused) {
  for (const std::string name : {"../x", "a/b", ".hidden", "", " x", "a\\b", "a\tb", "\xc3\xa4"}) {
    EXPECT_THAT(ParseSha256Sums(kA + "  " + name + "\n" + kB + "  z\n"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 1")))
        << name;
  }
  EXPECT_THAT(ParseSha256Sums(kA + "  " + std::string(256, 'x') + "\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not safe")));
}

TEST(Sha256SumsTest, ThereIsOneListOfTheSameFiles) {
  const auto expect_refused = [](const std::string& text, const char* why) {
    EXPECT_THAT(ParseSha256Sums(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  expect_refused(kA + "  b\n" + kB + "  a\n", "line 2 of the list of files: 'a' comes after 'b'");
  expect_refused(kA + "  a\n" + kB + "  a\n", "expected the order of names");
  expect_refused(kA + "  a\n" + kB + "  b", "a line feed");
  expect_refused(kA + "  a\n\n" + kB + "  b\n", "line 2");
  expect_refused(kA + "  a\n", "fewer than two files");
  expect_refused("", "fewer than two files");
  expect_refused(std::string(kMaxSha256SumsBytes + 1, 'a'), "at most 1048576");
}

}  // namespace
}  // namespace qzo::base
