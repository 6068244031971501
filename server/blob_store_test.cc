#include "server/blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "base/status_macros.h"
#include "tests/support/small_disk.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
// SHA-256 of "abc": FIPS 180-4, example 1.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

class BlobStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    auto opened = BlobStore::Open(directory_.File("blobs"), base::RealFileSystem());
    ASSERT_OK(opened);
    blobs_ = *std::move(opened);
  }
  absl::StatusOr<std::string> Put(const std::string& bytes, const std::string& expected = "") {
    QZO_ASSIGN_OR_RETURN(auto writer, blobs_->NewWriter(kNoLimit));
    QZO_RETURN_IF_ERROR(writer->Append(bytes));
    return writer->Finish(expected);
  }
  std::string NewFile(const std::string& directory, const std::string& bytes) {
    const std::string path = directory + "/imported";
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  // Every file below the blob directory.
  std::vector<std::string> Files() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.File("blobs"))) {
      if (!entry.is_directory()) names.push_back(std::filesystem::relative(entry, directory_.File("blobs")).string());
    }
    return names;
  }

  const qzo::testing::TempDir directory_;
  std::unique_ptr<BlobStore> blobs_;
};

TEST_F(BlobStoreTest, ABlobIsKnownByItsSha256) {
  ASSERT_OK_AND_ASSIGN(auto writer, blobs_->NewWriter(3));
  ASSERT_OK(writer->Append("a"));
  ASSERT_OK(writer->Append("bc"));
  EXPECT_EQ(writer->size_bytes(), 3u);
  EXPECT_FALSE(blobs_->Exists(kAbc)) << "not before it is finished";
  ASSERT_OK_AND_ASSIGN(const std::string digest, writer->Finish(kAbc));
  EXPECT_EQ(digest, kAbc);
  EXPECT_THAT(Files(), ElementsAre(std::string("ba/") + (kAbc + 2)));
  Reopen();
  EXPECT_TRUE(blobs_->Exists(kAbc));
  ASSERT_OK_AND_ASSIGN(const uint64_t size, blobs_->Size(kAbc));
  EXPECT_EQ(size, 3u);
  ASSERT_OK_AND_ASSIGN(const auto file, blobs_->Open(kAbc));
  EXPECT_EQ(file->bytes(), "abc");
}

TEST_F(BlobStoreTest, AnEmptyBlobIsABlob) {
  ASSERT_OK_AND_ASSIGN(const std::string digest, Put(""));
  ASSERT_OK_AND_ASSIGN(const auto file, blobs_->Open(digest));
  EXPECT_EQ(file->bytes(), "");
}

TEST_F(BlobStoreTest, OtherContentThanExpectedLeavesNothing) {
  EXPECT_THAT(Put("abd", kAbc), StatusIs(kInvalid, HasSubstr(kAbc)));
  EXPECT_THAT(Put("abc", "sha256:ba78"), StatusIs(kInvalid, HasSubstr("64 lower-case")));
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(BlobStoreTest, ABlobBeyondTheLimitIsRefused) {
  {
    ASSERT_OK_AND_ASSIGN(auto writer, blobs_->NewWriter(4));
    ASSERT_OK(writer->Append("abc"));
    EXPECT_THAT(writer->Append("de"), StatusIs(kInvalid, HasSubstr("4 B")));
  }
  EXPECT_THAT(Files(), IsEmpty()) << "an abandoned blob leaves nothing";
}

TEST_F(BlobStoreTest, WhatACrashedServerDidNotFinishIsRemoved) {
  NewFile(directory_.File("blobs/incoming"), "half a bl");
  ASSERT_OK(Put("abc"));
  Reopen();
  EXPECT_THAT(Files(), ElementsAre(HasSubstr("ba/")));
}

TEST_F(BlobStoreTest, TheSameContentTwiceIsOneBlobAlsoFromManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 5; ++i) EXPECT_OK(Put("abc", kAbc));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(Files(), ElementsAre(HasSubstr("ba/")));
}

TEST_F(BlobStoreTest, NoPathIsMadeOfAnythingButADigest) {
  const std::string upper = "BA" + std::string(kAbc + 2);
  for (const std::string& digest :
       {std::string(), std::string("../../etc/passwd"), std::string(64, '.'), "../" + std::string(61, 'a'), upper,
        std::string(kAbc) + "\n", std::string(kAbc).replace(10, 1, 1, '/'),
        std::string(kAbc).replace(10, 1, 1, '\0')}) {
    EXPECT_THAT(blobs_->Path(digest), StatusIs(kInvalid, HasSubstr("digest '")));
    EXPECT_THAT(blobs_->Open(digest), StatusIs(kInvalid, _));
    EXPECT_THAT(blobs_->Size(digest), StatusIs(kInvalid, _));
    EXPECT_THAT(blobs_->Remove(digest), StatusIs(kInvalid, _));
    EXPECT_FALSE(blobs_->Exists(digest));
  }
}

TEST_F(BlobStoreTest, AbsentBlobsAreNotFoundAndRemovingThemSucceeds) {
  EXPECT_THAT(blobs_->Open(kAbc), StatusIs(absl::StatusCode::kNotFound, HasSubstr(kAbc + 2)));
  EXPECT_THAT(blobs_->Size(kAbc), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_OK(blobs_->Remove(kAbc));
  ASSERT_OK(Put("abc"));
  ASSERT_OK_AND_ASSIGN(const auto mapped, blobs_->Open(kAbc));
  EXPECT_OK(blobs_->Remove(kAbc));
  EXPECT_FALSE(blobs_->Exists(kAbc));
  EXPECT_EQ(mapped->bytes(), "abc") << "who has it open keeps it";
}

TEST_F(BlobStoreTest, ListsEveryBlobSorted) {
  std::vector<std::string> digests;
  for (const char* bytes : {"abc", "x", "y", "z"}) {
    ASSERT_OK_AND_ASSIGN(digests.emplace_back(), Put(bytes));
  }
  std::sort(digests.begin(), digests.end());
  std::ofstream(directory_.File("blobs/ba/notes.txt")) << "not a blob";
  std::ofstream(directory_.File("blobs/README")) << "not a blob";
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> listed, blobs_->List());
  EXPECT_EQ(listed, digests);
}

TEST_F(BlobStoreTest, ImportsAFileByLinkingIt) {
  const std::string path = NewFile(directory_.path(), "abc");
  EXPECT_THAT(blobs_->ImportFile(path, std::string(64, '0')), StatusIs(kInvalid, HasSubstr(kAbc)));
  EXPECT_THAT(Files(), IsEmpty());
  std::filesystem::create_symlink(path, directory_.File("link"));
  ASSERT_OK_AND_ASSIGN(std::string digest, blobs_->ImportFile(directory_.File("link"), kAbc));
  EXPECT_EQ(digest, kAbc);
  ASSERT_OK_AND_ASSIGN(const std::string blob, blobs_->Path(digest));
  EXPECT_TRUE(std::filesystem::equivalent(blob, path)) << "the same file, not a copy";
  EXPECT_FALSE(std::filesystem::is_symlink(blob));
  EXPECT_OK(blobs_->ImportFile(path, "")) << "again";
  EXPECT_THAT(blobs_->ImportFile(directory_.File("absent"), ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
  EXPECT_FALSE(blobs_->ImportFile(directory_.path(), "").ok()) << "a directory";
}

TEST_F(BlobStoreTest, ImportsAFileFromAnotherFileSystemByCopying) {
  qzo::testing::SmallDisk other(8 << 20);
  if (!other.mounted()) GTEST_SKIP() << "cannot mount a tmpfs";
  const std::string content(3 << 20, 'x');  // several pieces
  const std::string path = NewFile(other.path(), content);
  ASSERT_OK_AND_ASSIGN(const std::string digest, blobs_->ImportFile(path, base::Sha256Hex(content)));
  ASSERT_OK_AND_ASSIGN(const auto file, blobs_->Open(digest));
  EXPECT_EQ(file->bytes(), content);
  EXPECT_THAT(Files(), ElementsAre(HasSubstr("/")));
}

TEST(BlobStoreOnASmallDisk, AFullDiskLeavesNoPartOfABlob) {
  qzo::testing::SmallDisk disk(1 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a tmpfs";
  ASSERT_OK_AND_ASSIGN(const auto blobs, BlobStore::Open(disk.File("blobs"), base::RealFileSystem()));
  {
    ASSERT_OK_AND_ASSIGN(auto writer, blobs->NewWriter(kNoLimit));
    EXPECT_THAT(writer->Append(std::string(2 << 20, 'x')),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(disk.path())));
  }
  ASSERT_OK_AND_ASSIGN(const auto pending, base::RealFileSystem()->List(disk.File("blobs/incoming")));
  EXPECT_THAT(pending, IsEmpty());
  ASSERT_OK_AND_ASSIGN(auto writer, blobs->NewWriter(kNoLimit));
  ASSERT_OK(writer->Append(std::string(512 << 10, 'y')));
  EXPECT_OK(writer->Finish("")) << "there is room for a smaller one";
}

}  // namespace
}  // namespace qzo::server
