#include "worker/model_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/sha256sums.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"
#include "worker/fakes.h"

namespace qzo::worker {
namespace {

using ::qzo::testing::IsOk;
using ::qzo::testing::StatusIs;
using ::qzo::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class ModelCacheTest : public ::testing::Test {
 protected:
  // A process of its own on the same machine.
  std::unique_ptr<ModelCache> NewCache() { return std::make_unique<ModelCache>(directory_.File("cache"), fs_); }
  std::vector<std::string> Files() { return fs_->List(directory_.File("cache")).value(); }

  TempDir directory_;
  base::FileSystem* fs_ = base::RealFileSystem();
  FakeBlobs blobs_;
  const std::string model_ = blobs_.Add(TinyModel());
};

TEST_F(ModelCacheTest, AModelIsFetchedOnceAndLoadedOnce) {
  const auto cache = NewCache();
  ASSERT_OK_AND_ASSIGN(const auto first, cache->GetModel(model_, &blobs_));
  ASSERT_OK_AND_ASSIGN(const auto second, cache->GetModel(model_, &blobs_));
  EXPECT_EQ(first, second);
  EXPECT_EQ(blobs_.fetches(model_), 1);
  EXPECT_EQ(cache->mapped_bytes(), static_cast<int64_t>(TinyModel().size()));
  EXPECT_THAT(Files(), ElementsAre(model_ + ".gguf"));
}

TEST_F(ModelCacheTest, BelowItsLimitWhatIsNotInUseMakesRoom) {
  const std::string data(200'000, '\n'), more(100'000, ' ');
  const std::string one = blobs_.Add(data), other = blobs_.Add(more);
  ModelCache cache(directory_.File("cache"), fs_, /*limit_bytes=*/(uint64_t{64} << 20) + TinyModel().size() + 150'000);
  ASSERT_OK_AND_ASSIGN(const auto model, cache.GetModel(model_, &blobs_));
  ASSERT_OK(cache.ReadDataset(one, &blobs_));
  EXPECT_THAT(Files(), UnorderedElementsAre(model_ + ".gguf", one + ".jsonl"));
  ASSERT_OK(cache.ReadDataset(other, &blobs_));
  EXPECT_THAT(Files(), UnorderedElementsAre(model_ + ".gguf", other + ".jsonl"));
  ASSERT_OK_AND_ASSIGN(const std::string again, cache.ReadDataset(one, &blobs_));
  EXPECT_EQ(again, data) << "fetched once more";
  EXPECT_EQ(blobs_.fetches(one), 2);
  EXPECT_EQ(blobs_.fetches(model_), 1) << "it is mapped";
}

TEST_F(ModelCacheTest, AnotherProcessFindsWhatTheFirstOneFetched) {
  ASSERT_OK(NewCache()->GetModel(model_, &blobs_));
  ASSERT_OK(NewCache()->GetModel(model_, &blobs_));
  EXPECT_EQ(blobs_.fetches(model_), 1);
}

TEST_F(ModelCacheTest, ADamagedFileIsFetchedAgain) {
  ASSERT_OK(NewCache()->GetModel(model_, &blobs_));
  std::string damaged = TinyModel();
  damaged[damaged.size() / 2] ^= 1;
  ASSERT_OK(fs_->WriteDurably(directory_.File("cache/" + model_ + ".gguf"), damaged));
  ASSERT_OK(NewCache()->GetModel(model_, &blobs_));
  EXPECT_EQ(blobs_.fetches(model_), 2);
  EXPECT_EQ(fs_->Read(directory_.File("cache/" + model_ + ".gguf")).value(), TinyModel());
}

TEST_F(ModelCacheTest, OtherBytesThanTheDigestNamesAreRefusedAndNotKept) {
  blobs_.Replace(model_, "not the model");
  EXPECT_THAT(NewCache()->GetModel(model_, &blobs_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(model_)));
  EXPECT_THAT(Files(), ElementsAre());
}

TEST_F(ModelCacheTest, AnInterruptedTransferLeavesNothingBehind) {
  const std::string missing(64, 'a');
  EXPECT_THAT(NewCache()->ReadDataset(missing, &blobs_), StatusIs(absl::StatusCode::kNotFound, HasSubstr(missing)));
  EXPECT_THAT(Files(), ElementsAre());
}

TEST_F(ModelCacheTest, ADigestThatIsNoneNeverBecomesAPath) {
  EXPECT_THAT(NewCache()->ReadDataset("../../etc/passwd", &blobs_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("SHA-256")));
}

TEST_F(ModelCacheTest, ARegisteredFileIsUsedWhereItLies) {
  const auto cache = NewCache();
  ASSERT_OK_AND_ASSIGN(const std::string digest,
                       cache->Register(testing::TestFile("golden/models/stories260k/stories260K-Q4_1.gguf")));
  EXPECT_EQ(digest, model_);
  ASSERT_OK(cache->GetModel(model_, &blobs_));
  EXPECT_EQ(blobs_.fetches(model_), 0);
  EXPECT_FALSE(fs_->Exists(directory_.File("cache")));
}

TEST_F(ModelCacheTest, AModelStaysMappedUntilAnotherIsLoaded) {
  const auto cache = NewCache();
  const std::string other = blobs_.Add(ReadTestFile("golden/models/stories260k/stories260K-Q8_0.gguf"));
  const model::Model* kept = cache->GetModel(model_, &blobs_).value().get();
  EXPECT_EQ(cache->GetModel(model_, &blobs_).value().get(), kept);
  ASSERT_OK(cache->GetModel(other, &blobs_));
  EXPECT_EQ(cache->mapped_bytes(),
            static_cast<int64_t>(ReadTestFile("golden/models/stories260k/stories260K-Q8_0.gguf").size()));
}

TEST_F(ModelCacheTest, AModelInUseStaysBesideAnother) {
  const auto cache = NewCache();
  const std::string other = blobs_.Add(ReadTestFile("golden/models/stories260k/stories260K-Q8_0.gguf"));
  ASSERT_OK_AND_ASSIGN(const auto used, cache->GetModel(model_, &blobs_));
  ASSERT_OK(cache->GetModel(other, &blobs_));
  ASSERT_OK_AND_ASSIGN(const auto again, cache->GetModel(model_, &blobs_));
  EXPECT_EQ(used, again);
}

// A checkpoint as the coordinator holds it: its files and their list.
class SeveralFilesTest : public ModelCacheTest {
 protected:
  SeveralFilesTest() {
    files_ = testing::TinyCheckpoint("gptq").Files(2);
    files_["tokenizer.json"] = testing::TinyCheckpoint::Tokenizer();
    std::vector<base::FileDigest> listed;
    for (const auto& [name, bytes] : files_) listed.push_back({.name = name, .digest = blobs_.Add(bytes)});
    list_ = base::WriteSha256Sums(listed);
    digest_ = blobs_.Add(list_);
  }
  std::string InCache(const std::string& name) { return directory_.File("cache/" + digest_ + "/" + name); }

  // A directory outside the cache that holds them.
  std::string Mine() {
    EXPECT_OK(fs_->CreateDirectories(directory_.File("mine")));
    for (const auto& [name, bytes] : files_) EXPECT_OK(fs_->WriteDurably(directory_.File("mine/" + name), bytes));
    return directory_.File("mine");
  }

  std::map<std::string, std::string> files_;
  std::string list_, digest_;
};

TEST_F(SeveralFilesTest, AreFetchedOnceIntoADirectoryAndKnownByTheirList) {
  ASSERT_OK_AND_ASSIGN(const auto model, NewCache()->GetModel(digest_, &blobs_));
  EXPECT_EQ(model->Digest(), digest_);
  EXPECT_EQ(model->info().architecture, "llama");
  ASSERT_OK(NewCache()->GetModel(digest_, &blobs_));
  for (const auto& [name, bytes] : files_) {
    EXPECT_EQ(blobs_.fetches(base::Sha256Hex(bytes)), 1) << name;
    EXPECT_EQ(fs_->Read(InCache(name)).value(), bytes);
  }
  EXPECT_EQ(fs_->Read(InCache("SHA256SUMS")).value(), list_);
  EXPECT_THAT(Files(), ElementsAre(digest_, digest_ + ".packed-2"));
}

TEST_F(SeveralFilesTest, RepackedLayersAreSharedByTheProcessesOfAHost) {
  const auto one = NewCache(), other = NewCache();
  ASSERT_OK(one->GetModel(digest_, &blobs_));
  const std::string layer = directory_.File("cache/" + digest_ + ".packed-2/0");
  ASSERT_OK(fs_->Link(layer, directory_.File("second name")));
  ASSERT_OK(other->GetModel(digest_, &blobs_));
  EXPECT_EQ(std::filesystem::hard_link_count(layer), 2u) << "it was written again";
}

TEST_F(SeveralFilesTest, OnlyWhatIsMissingOrDamagedIsFetchedAgain) {
  ASSERT_OK(NewCache()->GetModel(digest_, &blobs_));
  ASSERT_OK(fs_->Remove(InCache("model-0.safetensors")));
  ASSERT_OK(fs_->WriteDurably(InCache("config.json"), "{}"));
  ASSERT_OK(fs_->WriteDurably(InCache("SHA256SUMS"), "damaged"));
  ASSERT_OK(NewCache()->GetModel(digest_, &blobs_));
  EXPECT_EQ(blobs_.fetches(base::Sha256Hex(files_["model-0.safetensors"])), 2);
  EXPECT_EQ(blobs_.fetches(base::Sha256Hex(files_["config.json"])), 2);
  EXPECT_EQ(blobs_.fetches(digest_), 2);
  EXPECT_EQ(blobs_.fetches(base::Sha256Hex(files_["model-1.safetensors"])), 1);
}

TEST_F(SeveralFilesTest, AListThatLeadsOutOfTheDirectoryIsRefused) {
  const std::string hostile = base::Sha256Hex("x") + "  ../../x\n" + base::Sha256Hex("y") + "  y\n";
  EXPECT_THAT(NewCache()->GetModel(blobs_.Add(hostile), &blobs_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not safe in a directory")));
  EXPECT_EQ(blobs_.fetches(base::Sha256Hex("x")), 0);
}

TEST_F(SeveralFilesTest, RoomIsMadeForWhatIsRepacked) {
  const std::string mine = Mine();
  const std::string data(10'000, '\n'), dataset = blobs_.Add(data);
  ASSERT_OK(NewCache()->ReadDataset(dataset, &blobs_));
  for (int times = 0; times < 2; ++times) {
    ModelCache cache(directory_.File("cache"), fs_, /*limit_bytes=*/data.size());
    ASSERT_OK_AND_ASSIGN(const std::string digest, cache.Register(mine));
    ASSERT_OK(cache.GetModel(digest, &blobs_));
    EXPECT_THAT(Files(), ElementsAre(digest + ".packed-2")) << "at the dataset's cost, not its own";
  }
}

TEST_F(SeveralFilesTest, ARegisteredDirectoryIsUsedWhereItLies) {
  const std::string mine = Mine();
  const auto cache = NewCache();
  ASSERT_OK_AND_ASSIGN(const std::string digest, cache->Register(mine));
  EXPECT_EQ(digest, digest_);
  ASSERT_OK(cache->GetModel(digest_, &blobs_));
  EXPECT_EQ(blobs_.fetches(digest_), 0);
}

TEST_F(ModelCacheTest, DatasetsAreCachedLikeModels) {
  const std::string rows = ReadTestFile("golden/data/tiny_train.jsonl");
  const std::string digest = blobs_.Add(rows);
  EXPECT_EQ(NewCache()->ReadDataset(digest, &blobs_).value(), rows);
  EXPECT_EQ(NewCache()->ReadDataset(digest, &blobs_).value(), rows);
  EXPECT_EQ(blobs_.fetches(digest), 1);
  EXPECT_THAT(Files(), ElementsAre(digest + ".jsonl"));
}

}  // namespace
}  // namespace qzo::worker
