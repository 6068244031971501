#include "model/graph/model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::model {
namespace {

using qzo::testing::GgufBuilder;
using qzo::testing::LoadBytes;
using qzo::testing::LoadStories;
using qzo::testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

// The model with a tensor replaced or added.
std::string With(const Model& model, const std::string& name, GgmlType type, const std::vector<uint64_t>& dims,
                 const std::string& data) {
  GgufBuilder builder;
  qzo::testing::CopyKeys(model.file(), &builder);
  for (const GgufTensor& tensor : model.file().tensors()) {
    if (tensor.name != name)
      builder.Tensor(tensor.name, tensor.type, {tensor.dims.begin(), tensor.dims.end()}, tensor.bytes);
  }
  builder.Tensor(name, type, dims, data);
  return builder.Finish();
}

std::string Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

TEST(ModelTest, LayersFollowThePartition) {
  const std::unique_ptr<Model> model = LoadStories("Q8_0");
  ASSERT_EQ(model->layers().size(), 5u);
  EXPECT_EQ(model->layers()[3].trained_base, 21);
  EXPECT_EQ(model->info().trained[21].name, "blk.3.attn_q.weight");
  EXPECT_EQ(model->layers()[3].down.rows, 64);
  EXPECT_EQ(model->layers()[3].down.cols, 172);
  EXPECT_EQ(model->head().data, model->embedding().data);
  EXPECT_EQ(model->rope().cos.size(), 512u * 4);
}

TEST(ModelTest, UnitsAreInversesOfStoredScales) {
  const std::unique_ptr<Model> model = LoadStories("Q8_0");
  ASSERT_OK_AND_ASSIGN(const std::vector<float> units, model->Units(0, method::Granularity::kGroup));
  ASSERT_EQ(units.size(), 64u * 2);
  // Q8_0's scale is the largest magnitude of its block over 127, rounded to half precision.
  const kernels::WeightMatrix& q = model->layers()[0].q;
  std::vector<float> row(64);
  for (int64_t n = 0; n < q.rows; ++n) {
    kernels::DequantizeRow(q, n, row.data());
    for (size_t block = 0; block < 2; ++block) {
      float largest = 0;
      for (size_t j = 0; j < 32; ++j) largest = std::max(largest, std::abs(row[32 * block + j]));
      EXPECT_NEAR(largest * units[2 * static_cast<size_t>(n) + block], 127, 1e-3);
    }
  }
  EXPECT_THAT(model->Units(0, method::Granularity::kChannel),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("'blk.0.attn_q.weight' (Q8_0) has several scales a row")));
  EXPECT_THAT(
      model->Units(6, method::Granularity::kGroup),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("'blk.0.ffn_down.weight' (F16) has no scales")));
}

TEST(ModelTest, AScaleThatIsNotFiniteHasNoUnit) {
  const std::unique_ptr<Model> model = LoadStories("Q4_1");
  const GgufTensor* tensor = model->file().FindTensor("blk.1.attn_k.weight");
  std::string data(tensor->bytes);
  data[20 * 5] = '\x00';
  data[20 * 5 + 1] = '\x7c';  // half-precision infinity as the scale of block 5
  const std::string bytes = With(*model, tensor->name, tensor->type, {64, 32}, data);
  EXPECT_THAT(LoadBytes(bytes)->Units(8, method::Granularity::kGroup),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has the scale inf in group 5")));
}

TEST(ModelTest, FrequencyDivisorsOfTheFileSlowTheRotation) {
  const std::unique_ptr<Model> model = LoadStories("F32");
  const std::string bytes = With(*model, "rope_freqs.weight", GgmlType::kF32, {4}, Bytes({1, 1, 2, 8}));
  const std::unique_ptr<Model> scaled = LoadBytes(bytes);
  const auto angle = [](const Model& m, size_t position, size_t i) {
    return std::atan2(m.rope().sin[position * 4 + i], m.rope().cos[position * 4 + i]);
  };
  EXPECT_EQ(angle(*scaled, 2, 1), angle(*model, 2, 1));
  EXPECT_NEAR(angle(*scaled, 100, 2), angle(*model, 50, 2), 1e-6);
  EXPECT_NEAR(angle(*scaled, 480, 3), angle(*model, 60, 3), 1e-6);
}

TEST(ModelTest, AHeadOfItsOwnIsUsed) {
  const std::unique_ptr<Model> model = LoadStories("F32");
  const std::string bytes = With(*model, "output.weight", GgmlType::kF32, {64, 512}, std::string(64 * 512 * 4, '\0'));
  const std::unique_ptr<Model> untied = LoadBytes(bytes);
  EXPECT_FALSE(untied->info().tied_head);
  kernels::ThreadPool pool(1);
  PlainLane plain;
  ASSERT_OK_AND_ASSIGN(const std::vector<float> logits,
                       Engine(*untied, kernels::BestKernels(), &pool, kernels::Arithmetic::kFp32)
                           .Logits(std::vector<int32_t>{1, 2}, &plain));
  EXPECT_THAT(logits, Each(0.0f));
}

TEST(ModelTest, AMissingFileIsReported) {
  EXPECT_THAT(Model::Load("/no/such/model.gguf"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/model.gguf")));
}

TEST(ModelTest, ARangeHoldsItsLayersAndWhatStandsBesideThem) {
  const std::unique_ptr<Model> whole = LoadStories("Q4_1");
  const auto load = [&](LayerRange range) {
    auto model = Model::Load(whole->path(), range);
    EXPECT_OK(model);
    return *std::move(model);
  };
  EXPECT_TRUE(whole->whole());
  EXPECT_EQ(whole->range(), (LayerRange{0, 5}));
  EXPECT_EQ(whole->resident_bytes(), whole->info().file_bytes);
  const std::unique_ptr<Model> first = load({0, 2}), middle = load({2, 3}), last = load({3, 5});
  EXPECT_EQ(first->embedding().rows, 512);
  EXPECT_EQ(first->head().rows, 0);
  EXPECT_TRUE(first->output_norm().weight.empty());
  EXPECT_EQ(middle->embedding().rows, 0);
  EXPECT_EQ(middle->head().rows, 0);
  EXPECT_EQ(last->embedding().rows, 0);
  EXPECT_EQ(last->head().rows, 512) << "a tied head is the embedding";
  EXPECT_EQ(last->output_norm().weight, whole->output_norm().weight);
  ASSERT_EQ(middle->layers().size(), 1u);
  EXPECT_EQ(middle->layer(2).trained_base, 14);
  EXPECT_EQ(middle->info().layers, 5) << "the whole model's";
  EXPECT_EQ(*middle->Units(14, method::Granularity::kGroup), *whole->Units(14, method::Granularity::kGroup));

  int64_t tensors = 0;
  for (const GgufTensor& tensor : whole->file().tensors()) tensors += static_cast<int64_t>(tensor.bytes.size());
  const int64_t embedding = static_cast<int64_t>(whole->file().FindTensor("token_embd.weight")->bytes.size());
  EXPECT_EQ(first->resident_bytes() + middle->resident_bytes() + last->resident_bytes(), tensors + embedding);
}

TEST(ModelTest, RefusesARangeOfOtherLayers) {
  const std::string path = LoadStories("Q4_1")->path();
  for (const LayerRange range : {LayerRange{0, 6}, LayerRange{-1, 2}, LayerRange{3, 3}, LayerRange{4, 2}}) {
    EXPECT_THAT(Model::Load(path, range).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected some of its 5")));
  }
}

}  // namespace
}  // namespace qzo::model
