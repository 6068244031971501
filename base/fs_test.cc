#include "base/fs.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/digest.h"
#include "base/page_release.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::base {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(FileSystem, WritesAppearWholeOrNotAtAll) {
  testing::TempDir dir;
  FileSystem& fs = *RealFileSystem();
  const std::string path = dir.File("x");
  {
    ASSERT_OK_AND_ASSIGN(auto file, fs.CreatePending(path));
    ASSERT_OK(file->Append("half"));
    EXPECT_FALSE(fs.Exists(path));
  }
  ASSERT_OK_AND_ASSIGN(auto left, fs.List(dir.path()));
  EXPECT_TRUE(left.empty()) << "an abandoned file leaves nothing";
  ASSERT_OK(fs.WriteDurably(path, "whole"));
  ASSERT_OK_AND_ASSIGN(std::string read, fs.Read(path));
  EXPECT_EQ(read, "whole");
  ASSERT_OK_AND_ASSIGN(auto names, fs.List(dir.path()));
  EXPECT_THAT(names, ElementsAre("x"));
}

TEST(FileSystem, APendingFileMayChooseItsNameAtTheEnd) {
  testing::TempDir dir;
  FileSystem& fs = *RealFileSystem();
  ASSERT_OK_AND_ASSIGN(auto file, fs.CreatePending(dir.File("unnamed")));
  ASSERT_OK(file->Append("whole"));
  ASSERT_OK(file->CommitAs(dir.File("named")));
  ASSERT_OK_AND_ASSIGN(auto names, fs.List(dir.path()));
  EXPECT_THAT(names, ElementsAre("named"));
}

TEST(FileSystem, ALinkIsASecondNameOfTheFileBehindASymbolicLink) {
  testing::TempDir dir;
  FileSystem& fs = *RealFileSystem();
  ASSERT_OK(fs.WriteDurably(dir.File("file"), "content"));
  std::filesystem::create_symlink(dir.File("file"), dir.File("symbolic"));
  ASSERT_OK(fs.Link(dir.File("symbolic"), dir.File("linked")));
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(dir.File("linked"))));
  EXPECT_THAT(fs.Link(dir.File("file"), dir.File("linked")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("linked")));
  EXPECT_THAT(fs.Link(dir.File("absent"), dir.File("x")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
}

TEST(FileSystem, ErrorsNameThePath) {
  EXPECT_THAT(RealFileSystem()->Read("/nonexistent/x"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/x")));
  EXPECT_THAT(MappedFile::Open("/"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular")));
  EXPECT_THAT(ErrnoStatus(ENOSPC, "write", "/x"), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("/x")));
}

TEST(FileSystem, MapsFilesReadOnly) {
  testing::TempDir dir;
  ASSERT_OK(RealFileSystem()->WriteDurably(dir.File("m"), "mapped"));
  ASSERT_OK(RealFileSystem()->WriteDurably(dir.File("empty"), ""));
  ASSERT_OK_AND_ASSIGN(auto file, MappedFile::Open(dir.File("m")));
  EXPECT_EQ(file->bytes(), "mapped");
  ASSERT_OK_AND_ASSIGN(auto empty, MappedFile::Open(dir.File("empty")));
  EXPECT_EQ(empty->bytes(), "");
}

int64_t ResidentFileKilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stoll(line.substr(8));
  }
  return -1;
}

TEST(FileSystem, TheDigestOfALargeFileTakesLittleMemory) {
  testing::TempDir dir;
  std::string bytes(size_t{40} << 20, 'x');
  for (size_t i = 0; i < bytes.size(); i += 4096) bytes[i] = static_cast<char>(i >> 12);
  ASSERT_OK(RealFileSystem()->WriteDurably(dir.File("large"), bytes));
  ASSERT_OK_AND_ASSIGN(const auto file, MappedFile::Open(dir.File("large")));
  const int64_t before = ResidentFileKilobytes();
  EXPECT_EQ(Sha256HexOf(*file), Sha256Hex(bytes));
  EXPECT_LT(ResidentFileKilobytes() - before, 20 << 10);
  EXPECT_EQ(file->bytes(), bytes) << "pages come back when they are read";
}

TEST(FileSystem, LocalDiskIsNotANetworkFileSystem) {
  testing::TempDir dir;
  ASSERT_OK_AND_ASSIGN(std::string name, NetworkFileSystemName(dir.path()));
  EXPECT_EQ(name, "");
}

}  // namespace
}  // namespace qzo::base
