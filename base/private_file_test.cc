#include "base/private_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::base {
namespace {

using ::qzo::testing::StatusIs;

TEST(PrivateFile, OnlyItsOwnerCanReadIt) {
  const testing::TempDir directory;
  const std::string path = directory.File("secret");
  ASSERT_OK(WritePrivately(path, "s"));
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(RealFileSystem()->Read(path).value_or(""), "s");
}

TEST(PrivateFile, ReplacesNothing) {
  const testing::TempDir directory;
  const std::string path = directory.File("secret");
  ASSERT_OK(WritePrivately(path, "first"));
  EXPECT_THAT(WritePrivately(path, "second"), StatusIs(absl::StatusCode::kAlreadyExists, ::testing::HasSubstr(path)));
  EXPECT_EQ(RealFileSystem()->Read(path).value_or(""), "first");
}

}  // namespace
}  // namespace qzo::base
