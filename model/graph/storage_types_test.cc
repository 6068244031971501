// A small model in every storage type computes what the same model in F32 does, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/test_data.h"
#include "model/graph/replica.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::FlatLanes;
using qzo::testing::GgufBuilder;
using qzo::testing::LoadBytes;
using qzo::testing::MultipliedFile;
using qzo::testing::SupportedKernels;

constexpr uint64_t kDim = 256, kWide = 512, kVocabulary = 512;

GgmlType ToGgml(kernels::WeightType type) {
  uint32_t id = 0;
  while (FindGgmlType(id) == nullptr || FindGgmlType(id)->name != kernels::WeightTypeName(type)) ++id;
  return static_cast<GgmlType>(id);
}

std::vector<kernels::WeightType> GgufTypes() {
  std::vector<kernels::WeightType> types = kernels::AllWeightTypes();
  std::erase_if(types, [](kernels::WeightType type) { return type >= kernels::WeightType::kU2x32; });
  return types;
}

// Two layers of random blocks with small scales, and the vocabulary of stories260K.
std::string RandomModel(kernels::WeightType type) {
  const std::unique_ptr<Model> stories = qzo::testing::LoadStories("F32");
  GgufBuilder builder;
  qzo::testing::CopyKeys(stories->file(), &builder, "llama.");
  for (const auto& [key, value] : {std::pair{"block_count", 2u},
                                   {"context_length", 64},
                                   {"embedding_length", kDim},
                                   {"feed_forward_length", kWide},
                                   {"attention.head_count", 4},
                                   {"attention.head_count_kv", 2}}) {
    builder.Uint32(std::string("llama.") + key, static_cast<uint32_t>(value));
  }
  builder.Float("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  std::mt19937 random(11);
  const auto matrix = [&](const std::string& name, uint64_t cols, uint64_t rows) {
    const std::vector<std::byte> bytes =
        kernels::RandomWeights(random, type, static_cast<int64_t>(rows), static_cast<int64_t>(cols));
    builder.Tensor(name + ".weight", ToGgml(type), {cols, rows},
                   {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  const auto norm = [&](const std::string& name) {
    const std::vector<float> ones(kDim, 1.0f);
    builder.Tensor(name + ".weight", GgmlType::kF32, {kDim}, {reinterpret_cast<const char*>(ones.data()), 4 * kDim});
  };
  matrix("token_embd", kDim, kVocabulary);
  norm("output_norm");
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    norm(layer + "attn_norm");
    norm(layer + "ffn_norm");
    matrix(layer + "attn_q", kDim, kDim);
    matrix(layer + "attn_k", kDim, kDim / 2);
    matrix(layer + "attn_v", kDim, kDim / 2);
    matrix(layer + "attn_output", kDim, kDim);
    matrix(layer + "ffn_gate", kDim, kWide);
    matrix(layer + "ffn_up", kDim, kWide);
    matrix(layer + "ffn_down", kWide, kDim);
  }
  return builder.Finish();
}

std::vector<float> Logits(const Model& model, const kernels::Kernels& kernels, LaneSource* lane,
                          kernels::Arithmetic arithmetic = kernels::Arithmetic::kFp32) {
  kernels::ThreadPool pool(1);
  const std::vector<int32_t> ids = {1, 403, 407, 261, 378};
  absl::StatusOr<std::vector<float>> logits = Engine(model, kernels, &pool, arithmetic).Logits(ids, lane);
  EXPECT_OK(logits);
  return *std::move(logits);
}

class StorageTypeTest : public ::testing::TestWithParam<kernels::WeightType> {};

TEST_P(StorageTypeTest, ComputesTheLogitsOfItsValuesInF32) {
  const std::string bytes = RandomModel(GetParam());
  const std::unique_ptr<Model> model = LoadBytes(bytes);
  const method::Partition partition(method::Granularity::kChannel, model->info().trained);
  const std::vector<float> ones(static_cast<size_t>(partition.multipliers()), 1.0f);
  const std::string plain_bytes = MultipliedFile(*model, partition, ones);
  const std::unique_ptr<Model> plain = LoadBytes(plain_bytes);
  std::vector<float> multipliers(ones);
  for (size_t i = 0; i < multipliers.size(); ++i) multipliers[i] += 0.01f * static_cast<float>(i % 7);
  FlatLanes lane(partition, {multipliers});
  const std::vector<float> expected = Logits(*plain, *SupportedKernels().front(), &lane);
  EXPECT_GT(*std::max_element(expected.begin(), expected.end()), 1e-3f);
  for (const float logit : expected) ASSERT_TRUE(std::isfinite(logit));
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    EXPECT_EQ(kernels::FirstDifference(Logits(*model, *kernels, &lane), expected), -1) << kernels->name;
  }
}

TEST_P(StorageTypeTest, TrainsItsScaleGroups) {
  const std::string bytes = RandomModel(GetParam());
  const std::unique_ptr<Model> model = LoadBytes(bytes);
  const bool plain = kernels::BlockValues(GetParam()) == 1;
  const method::Partition partition(method::Granularity::kGroup, model->info().trained);
  EXPECT_EQ(partition.tensors()[0].shape.group, plain ? 256 : kernels::GroupValues(GetParam()));
  std::vector<float> multipliers(static_cast<size_t>(partition.multipliers()), 1.0f);
  for (size_t i = 0; i < multipliers.size(); ++i) multipliers[i] += 0.01f * static_cast<float>(i % 7);
  FlatLanes lane(partition, {multipliers});
  const std::vector<float> expected = Logits(*model, *SupportedKernels().front(), &lane);
  for (const kernels::Kernels* kernels : SupportedKernels()) {
    EXPECT_EQ(kernels::FirstDifference(Logits(*model, *kernels, &lane), expected), -1) << kernels->name;
  }
  // The multiplied values in F32 differ by roundings only.
  const std::string multiplied_bytes = MultipliedFile(*model, partition, multipliers);
  const std::unique_ptr<Model> multiplied = LoadBytes(multiplied_bytes);
  PlainLane ones;
  const std::vector<float> close = Logits(*multiplied, kernels::BestKernels(), &ones);
  float largest = 0;
  for (const float logit : close) largest = std::max(largest, std::abs(logit));
  for (size_t i = 0; i < close.size(); ++i) ASSERT_NEAR(close[i], expected[i], 1e-4f * largest);

  const absl::StatusOr<std::vector<float>> units = model->Units(0, method::Granularity::kGroup);
  ASSERT_EQ(units.ok(), !plain);
  if (plain) return;
  ASSERT_EQ(static_cast<int64_t>(units->size()), partition.tensors()[0].count);
  const kernels::WeightMatrix& q = model->layers()[0].q;
  const int64_t group = kernels::GroupValues(q.type);
  for (int64_t g = 0; g < q.cols / group; ++g) {  // of the first row
    kernels::CodeBlock block;
    kernels::DecodeCodes(q.type, q.data, g * group / 32 * 32, &block);
    const float scale = block.scale[g * group % 32 / 16];
    EXPECT_EQ((*units)[static_cast<size_t>(g)], scale == 0 ? 0 : 1 / scale);
  }
}

INSTANTIATE_TEST_SUITE_P(AllTypes, StorageTypeTest, ::testing::ValuesIn(GgufTypes()),
                         [](const auto& test) { return std::string(kernels::WeightTypeName(test.param)); });

// The coordinator plans with one table, workers compute with the other.
TEST(StorageTypes, FormatsAndKernelsAgree) {
  size_t known = 0;
  for (uint32_t id = 0; id < 256; ++id) {
    const GgmlTypeInfo* info = FindGgmlType(id);
    if (info == nullptr) continue;
    const std::optional<kernels::WeightType> type = kernels::FindWeightType(info->name);
    ASSERT_TRUE(type.has_value()) << info->name;
    EXPECT_EQ(info->block_values, kernels::BlockValues(*type)) << info->name;
    EXPECT_EQ(info->block_bytes, kernels::BlockBytes(*type)) << info->name;
    EXPECT_EQ(info->group_values, kernels::GroupValues(*type)) << info->name;
    ++known;
  }
  EXPECT_EQ(known, GgufTypes().size());
}

}  // namespace
}  // namespace qzo::model
