#include "server/blob_keeper.h"

#include <gtest/gtest.h>

#include <optional>

#include "base/fs.h"
#include "qzo/v1/dataset.pb.h"
#include "qzo/v1/stored.pb.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/sqlite_store.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::server {
namespace {

class BlobKeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SqliteStore::Options options;
    options.path = directory_.File("qzo.db");
    ASSERT_OK_AND_ASSIGN(store_, SqliteStore::Open(options));
    ASSERT_OK_AND_ASSIGN(blobs_, BlobStore::Open(directory_.File("blobs"), base::RealFileSystem()));
    keeper_.emplace(store_.get(), blobs_.get());
    ASSERT_OK_AND_ASSIGN(const auto writer, blobs_->NewWriter(100));
    ASSERT_OK(writer->Append("bytes"));
    ASSERT_OK_AND_ASSIGN(digest_, writer->Finish(""));
  }
  absl::Status Put(const char* kind, int32_t state, std::string body) {
    StoredResource resource = NewResource({kind, "p", "r"}, absl::Now());
    resource.state = state;
    resource.body = std::move(body);
    return CreateOnce(store_.get(), resource, "").status();
  }

  testing::TempDir directory_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<BlobStore> blobs_;
  std::optional<BlobKeeper> keeper_;
  std::string digest_;
};

TEST_F(BlobKeeperTest, ABlobThatNothingNamesGoes) {
  keeper_->Discard(digest_);
  EXPECT_FALSE(blobs_->Exists(digest_));
}

TEST_F(BlobKeeperTest, ABlobThatADatasetNamesStays) {
  v1::Dataset dataset;
  dataset.set_digest(digest_);
  ASSERT_OK(Put(kDatasetKind, 0, dataset.SerializeAsString()));
  keeper_->Discard(digest_);
  EXPECT_TRUE(blobs_->Exists(digest_));
}

TEST_F(BlobKeeperTest, ABlobThatAnAdapterNamesStays) {
  v1::StoredAdapter adapter;
  adapter.set_blob(digest_);
  ASSERT_OK(Put(kAdapterKind, 0, adapter.SerializeAsString()));
  keeper_->Discard(digest_);
  EXPECT_TRUE(blobs_->Exists(digest_));
}

TEST_F(BlobKeeperTest, AJobKeepsItsInputsAndSnapshotUntilItHasEnded) {
  v1::StoredJob job;
  job.mutable_snapshot()->set_blob(digest_);
  ASSERT_OK(Put(kJobKind, v1::FineTuningJob::PAUSED, job.SerializeAsString()));
  keeper_->Discard(digest_);
  EXPECT_TRUE(blobs_->Exists(digest_));
  ASSERT_OK_AND_ASSIGN(const StoredResource stored, store_->Get({kJobKind, "p", "r"}));
  UpdateResource ended;
  ended.uid = stored.uid;
  ended.state = v1::FineTuningJob::SUCCEEDED;
  ended.body = stored.body;
  ASSERT_OK(store_->Write({ended}));
  keeper_->Discard(digest_);
  EXPECT_FALSE(blobs_->Exists(digest_));
}

TEST_F(BlobKeeperTest, NothingGoesWhileSomeoneHolds) {
  auto outer = std::make_unique<BlobKeeper::Hold>(&*keeper_);
  auto inner = std::make_unique<BlobKeeper::Hold>(&*keeper_);
  keeper_->Discard(digest_);
  outer.reset();
  EXPECT_TRUE(blobs_->Exists(digest_));
  inner.reset();
  EXPECT_FALSE(blobs_->Exists(digest_));
}

TEST_F(BlobKeeperTest, AResourceStoredUnderAHoldKeepsTheBlob) {
  auto hold = std::make_unique<BlobKeeper::Hold>(&*keeper_);
  keeper_->Discard(digest_);
  v1::Dataset dataset;
  dataset.set_digest(digest_);
  ASSERT_OK(Put(kDatasetKind, 0, dataset.SerializeAsString()));
  hold.reset();
  EXPECT_TRUE(blobs_->Exists(digest_));
}

TEST_F(BlobKeeperTest, ADamagedStoreRemovesNothing) {
  ASSERT_OK(Put(kDatasetKind, 0, "not a message"));
  keeper_->Discard(digest_);
  EXPECT_TRUE(blobs_->Exists(digest_));
}

}  // namespace
}  // namespace qzo::server
