#include "worker/cache_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/fs.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string kA(64, 'a'), kB(64, 'b'), kC(64, 'c');

class CacheLimitTest : public ::testing::Test {
 protected:
  // A file of the cache that was last used `minutes` ago.
  void Write(const std::string& name, size_t bytes, int minutes) {
    const std::string path = directory_.File(name);
    ASSERT_OK(fs_->CreateDirectories(path.substr(0, path.rfind('/'))));
    ASSERT_OK(fs_->WriteDurably(path, std::string(bytes, 'x')));
    const auto used = std::filesystem::file_time_type::clock::now() - std::chrono::minutes(minutes);
    std::filesystem::last_write_time(path, used);
    std::filesystem::last_write_time(path.substr(0, path.rfind('/')), used);
  }
  std::vector<std::string> Names() { return fs_->List(directory_.path()).value(); }
  CacheLimit Limit(uint64_t bytes) { return CacheLimit(directory_.path(), bytes); }

  testing::TempDir directory_;
  base::FileSystem* fs_ = base::RealFileSystem();
};

TEST_F(CacheLimitTest, TheLongestUnusedGoFirst) {
  Write(kA + ".gguf", 100, 3);
  Write(kB + ".jsonl", 100, 5);
  Write(kC + ".gguf", 100, 1);
  Limit(300).MakeRoom(0, {});
  EXPECT_THAT(Names(), ElementsAre(kA + ".gguf", kB + ".jsonl", kC + ".gguf")) << "it fits";
  Limit(300).MakeRoom(1, {});
  EXPECT_THAT(Names(), ElementsAre(kA + ".gguf", kC + ".gguf"));
  Limit(300).MakeRoom(150, {});
  EXPECT_THAT(Names(), ElementsAre(kC + ".gguf"));
  Limit(300).MakeRoom(1000, {});
  EXPECT_THAT(Names(), IsEmpty()) << "what does not fit at all gets what there is";
}

TEST_F(CacheLimitTest, WhatIsKeptOrUsedStays) {
  Write(kA + ".gguf", 100, 3);
  Write(kB + ".gguf", 100, 5);
  Write(kC + ".gguf", 100, 4);
  Limit(200).Use(kC);
  Limit(200).MakeRoom(100, {kB});
  EXPECT_THAT(Names(), ElementsAre(kB + ".gguf")) << "one that may not go takes the room of one that may";
  Write(kA + ".gguf", 100, 3);
  Write(kC + ".gguf", 100, 4);
  Limit(200).Use(kC);
  Limit(200).MakeRoom(0, {});
  EXPECT_THAT(Names(), ElementsAre(kA + ".gguf", kC + ".gguf"));
}

TEST_F(CacheLimitTest, AModelInSeveralFilesGoesAsAWhole) {
  Write(kA + "/SHA256SUMS", 10, 9);
  Write(kA + "/model-1.safetensors", 100, 9);
  Write(kA + ".packed-2/0", 100, 9);
  Write(kA + ".gguf.pending.7.1", 100, 9);
  Write(kB + ".gguf", 100, 1);
  Limit(410).MakeRoom(0, {});
  EXPECT_EQ(Names().size(), 4u);
  Limit(409).MakeRoom(0, {});
  EXPECT_THAT(Names(), ElementsAre(kB + ".gguf"));
}

TEST_F(CacheLimitTest, OtherFilesAreNotItsOwn) {
  Write("notes.txt", 1000, 100);
  Write("models/" + kA + ".gguf", 1000, 100);
  Write(kB + ".gguf", 100, 1);
  Limit(50).MakeRoom(0, {});
  EXPECT_THAT(Names(), ElementsAre("models", "notes.txt"));
  CacheLimit(directory_.File("not/there"), 50).MakeRoom(0, {});
}

TEST_F(CacheLimitTest, WithoutALimitAllStay) {
  Write(kA + ".gguf", 100, 100);
  Limit(0).MakeRoom(1000, {});
  EXPECT_THAT(Names(), ElementsAre(kA + ".gguf"));
}

}  // namespace
}  // namespace qzo::worker
