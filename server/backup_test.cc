#include "server/backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/blob_store.h"
#include "server/sqlite_store.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

class BackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(store_, SqliteStore::Open({.path = directory_.File("data/qzo.db")}));
    ASSERT_OK_AND_ASSIGN(blobs_, BlobStore::Open(directory_.File("data/blobs"), fs_));
    ASSERT_OK(store_->Write({CreateResource{StoredResource{.key = {"job", "p", "j"}, .uid = "u", .body = "b"}, ""}}));
    ASSERT_OK_AND_ASSIGN(const auto writer, blobs_->NewWriter(100));
    ASSERT_OK(writer->Append("content"));
    ASSERT_OK_AND_ASSIGN(digest_, writer->Finish(""));
  }

  base::FileSystem* const fs_ = base::RealFileSystem();
  testing::TempDir directory_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<BlobStore> blobs_;
  std::string digest_;
};

TEST_F(BackupTest, HoldsWhatAServerInUseHeldAndNothingLater) {
  ASSERT_OK_AND_ASSIGN(const auto upload, blobs_->NewWriter(100));
  ASSERT_OK(upload->Append("in the middle of an upload"));
  ASSERT_OK(BackUp(directory_.File("data"), directory_.File("backup"), fs_));
  ASSERT_OK(upload->Finish("").status());
  ASSERT_OK(store_->Write({CreateResource{StoredResource{.key = {"job", "p", "later"}, .uid = "v", .body = "b"}, ""}}));
  ASSERT_OK(blobs_->Remove(digest_));

  ASSERT_OK_AND_ASSIGN(const auto store, SqliteStore::Open({.path = directory_.File("backup/qzo.db")}));
  ASSERT_OK_AND_ASSIGN(const StoredResource job, store->Get({"job", "p", "j"}));
  EXPECT_EQ(job.body, "b");
  EXPECT_THAT(store->Get({"job", "p", "later"}), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  ASSERT_OK_AND_ASSIGN(const auto blobs, BlobStore::Open(directory_.File("backup/blobs"), fs_));
  ASSERT_OK_AND_ASSIGN(const auto blob, blobs->Open(digest_));
  EXPECT_EQ(blob->bytes(), "content");
}

TEST_F(BackupTest, AnotherBackupIsNotOverwritten) {
  ASSERT_OK(BackUp(directory_.File("data"), directory_.File("backup"), fs_));
  EXPECT_THAT(BackUp(directory_.File("data"), directory_.File("backup"), fs_),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(directory_.File("backup"))));
}

TEST_F(BackupTest, WhatAnInterruptedOneLeftIsReplaced) {
  ASSERT_OK(fs_->CreateDirectories(directory_.File("backup")));
  ASSERT_OK(fs_->WriteDurably(directory_.File("backup/qzo.db.unfinished"), "half a database"));
  ASSERT_OK(BackUp(directory_.File("data"), directory_.File("backup"), fs_));
  EXPECT_OK(SqliteStore::Open({.path = directory_.File("backup/qzo.db")}));
}

TEST_F(BackupTest, ADirectoryWithoutADatabaseIsNamed) {
  EXPECT_THAT(BackUp(directory_.File("nothing"), directory_.File("backup"), fs_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(directory_.File("nothing"))));
  EXPECT_FALSE(fs_->Exists(directory_.File("nothing"))) << "nor made";
}

}  // namespace
}  // namespace qzo::server
