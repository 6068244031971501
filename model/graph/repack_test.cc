#include "model/graph/repack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "kernels/weights.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

struct Golden {
  std::string name;
  kernels::WeightType type;
  bool reordered;
};

class RepackTest : public ::testing::TestWithParam<Golden> {};

TEST_P(RepackTest, KeepsTheLayersValues) {
  const std::string path = testing::TestFile("golden/checkpoints/" + GetParam().name);
  std::ifstream config_file(path + ".config.json");
  const nlohmann::json config = nlohmann::json::parse(config_file);
  ASSERT_OK_AND_ASSIGN(const auto file, base::MappedFile::Open(path + ".safetensors"));
  ASSERT_OK_AND_ASSIGN(const std::vector<SafetensorsTensor> tensors, ParseSafetensors(file->bytes(), path));
  const auto find = [&](const std::string& suffix) -> const SafetensorsTensor* {
    for (const SafetensorsTensor& tensor : tensors) {
      if (tensor.name.ends_with(suffix)) return &tensor;
    }
    return nullptr;
  };
  const SafetensorsTensor& expected = *find("expected_dense_out_in");
  const bool gptq = config.at("quant_method") == "gptq";
  const CheckpointLinear linear{.name = "w",
                                .storage = gptq ? LinearStorage::kGptq : LinearStorage::kAwq,
                                .rows = expected.dims[0],
                                .cols = expected.dims[1],
                                .group = config.at("group_size"),
                                .bits = config.at("bits"),
                                .zeros_minus_one = gptq && config.at("checkpoint_format") == "gptq",
                                .weight = find(".qweight"),
                                .zeros = find(".qzeros"),
                                .scales = find(".scales"),
                                .indices = find(".g_idx")};
  const PackedLinear packed = Repack(linear);
  EXPECT_EQ(packed.type, GetParam().type);
  EXPECT_EQ(!packed.order.empty(), GetParam().reordered);
  std::vector<float> row(static_cast<size_t>(linear.cols));
  for (int64_t n = 0; n < linear.rows; ++n) {
    kernels::DequantizeRow({packed.type, packed.bytes.data(), linear.rows, linear.cols}, n, row.data());
    for (size_t j = 0; j < row.size(); ++j) {
      const size_t k = packed.order.empty() ? j : static_cast<size_t>(packed.order[j]);
      float value;
      std::memcpy(&value, expected.bytes.data() + (static_cast<size_t>(n) * row.size() + k) * sizeof value,
                  sizeof value);
      ASSERT_EQ(row[j], value) << "row " << n << " column " << k;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, RepackTest,
                         ::testing::Values(Golden{"gptq-w2_g32_sym_v1", kernels::WeightType::kU2x32, false},
                                           Golden{"gptq-w3_g32_asym_v2", kernels::WeightType::kU3x32, false},
                                           Golden{"gptq-w3_g32_sym_v1", kernels::WeightType::kU3x32, false},
                                           Golden{"gptq-w4_g32_asym_v1", kernels::WeightType::kU4x32, false},
                                           Golden{"gptq-w4_g32_sym_v2", kernels::WeightType::kU4x32, false},
                                           Golden{"gptq-w4_g32_sym_actorder_v1", kernels::WeightType::kU4x32, true},
                                           Golden{"gptq-w8_g32_sym_v1", kernels::WeightType::kU8x32, false},
                                           Golden{"awq-w4_g32_gemm", kernels::WeightType::kU4x32, false},
                                           Golden{"awq-w4_g128_gemm", kernels::WeightType::kU4x128, false}),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace qzo::model
