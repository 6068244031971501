#include "model/graph/packed_layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "model/graph/engine.h"
#include "model/graph/model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using ::qzo::testing::TinyCheckpoint;
using ::testing::ElementsAre;

using Files = std::map<std::string, std::string>;

constexpr char kDigest[] = "d1";

class PackedLayerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Model> Load(const Files& files, const PackedLayers* packed, LayerRange range = {}) {
    auto checkpoint = testing::OpenFiles(files);
    EXPECT_OK(checkpoint);
    auto tokenizer = MakeTokenizer(**checkpoint);
    EXPECT_OK(tokenizer);
    auto model = Model::Load(*std::move(checkpoint), *std::move(tokenizer), range, packed);
    EXPECT_OK(model);
    return model.ok() ? *std::move(model) : nullptr;
  }
  static Files Tiny(const std::string& method, int bits = 4, bool act_order = false, int layers = 1) {
    Files files = TinyCheckpoint(method, bits, act_order, layers).Files();
    files["tokenizer.json"] = TinyCheckpoint::Tokenizer();
    return files;
  }
  static std::vector<float> Logits(const Model& model) {
    kernels::ThreadPool pool(1);
    PlainLane lane;
    const std::vector<int32_t> ids = {1, 40, 7, 26, 37};
    return Engine(model, kernels::BestKernels(), &pool, kernels::Arithmetic::kFp32).Logits(ids, &lane).value();
  }
  std::string Path(const std::string& layer) { return dir_.File(std::string(kDigest) + ".packed-2/" + layer); }

  testing::TempDir dir_;
  base::FileSystem* fs_ = base::RealFileSystem();
  const PackedLayers packed_{fs_, dir_.path(), kDigest};
};

TEST_F(PackedLayerTest, ComputesTheSameBitsAsLayersInMemory) {
  int number = 0;
  for (const auto& [method, bits, act_order] : {std::tuple{"gptq", 4, false},
                                                {"gptq", 3, true},
                                                {"gptq", 8, false},
                                                {"awq", 4, false},
                                                {"bitsandbytes", 4, false},
                                                {"aqlm", 16, false},
                                                {"aqlm", 28, false}}) {
    const Files files = Tiny(method, bits, act_order);
    const PackedLayers packed(fs_, dir_.path(), std::to_string(number++));
    const auto in_memory = Load(files, nullptr), written = Load(files, &packed), found = Load(files, &packed);
    EXPECT_EQ(Logits(*written), Logits(*in_memory)) << method;
    EXPECT_EQ(Logits(*found), Logits(*in_memory)) << method;
    EXPECT_TRUE(fs_->Exists(packed.PathOf(0))) << method;
    EXPECT_GE(found->resident_bytes(), in_memory->resident_bytes());
  }
}

TEST_F(PackedLayerTest, RoomIsAskedForWhatWillBeWritten) {
  std::vector<uint64_t> asked;
  const PackedLayers packed(fs_, dir_.path(), kDigest, [&](uint64_t bytes) { asked.push_back(bytes); });
  for (int times = 0; times < 2; ++times) Load(Tiny("gptq", 4, false, 2), &packed);
  ASSERT_EQ(asked.size(), 2u) << "once a layer";
  const uint64_t written = fs_->Size(packed.PathOf(0)).value();
  EXPECT_LE(asked[0], written);
  EXPECT_GT(asked[0], written - 4096) << "but for sizes and what fills up";
}

TEST_F(PackedLayerTest, AModelWithoutLayersToRepackHasNoFiles) {
  Load(Tiny(""), &packed_);
  EXPECT_FALSE(fs_->Exists(packed_.directory()));
}

TEST_F(PackedLayerTest, StagesShareTheFilesOfTheWhole) {
  const Files files = Tiny("gptq", 4, false, 3);
  Load(files, &packed_, {.begin = 1, .end = 2});
  EXPECT_THAT(fs_->List(packed_.directory()).value(), ElementsAre("1"));
  ASSERT_OK(fs_->Link(Path("1"), dir_.File("second name")));
  const auto whole = Load(files, &packed_);
  EXPECT_THAT(fs_->List(packed_.directory()).value(), ElementsAre("0", "1", "2"));
  EXPECT_EQ(std::filesystem::hard_link_count(Path("1")), 2u) << "it was written again";
  EXPECT_EQ(Logits(*whole), Logits(*Load(files, nullptr)));
}

TEST_F(PackedLayerTest, ADamagedFileIsMadeAgain) {
  const Files files = Tiny("gptq");
  const std::vector<float> expected = Logits(*Load(files, &packed_));
  const std::string sound = fs_->Read(Path("0")).value();
  std::string flipped = sound, of_another = sound;
  flipped[sound.size() / 3] ^= 1;
  of_another[sound.size() - 17] ^= 1;  // in the last size
  for (const std::string& damaged : {flipped, of_another, sound.substr(0, sound.size() - 64), std::string("x")}) {
    ASSERT_OK(fs_->WriteDurably(Path("0"), damaged));
    EXPECT_EQ(Logits(*Load(files, &packed_)), expected);
    EXPECT_EQ(fs_->Read(Path("0")).value(), sound);
  }
}

// Such as a full disk.
TEST_F(PackedLayerTest, WithoutFilesLayersAreHeldInMemory) {
  ASSERT_OK(fs_->WriteDurably(packed_.directory(), "no directory"));
  const Files files = Tiny("awq");
  EXPECT_EQ(Logits(*Load(files, &packed_)), Logits(*Load(files, nullptr)));
}

}  // namespace
}  // namespace qzo::model
