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
  // With indices that turn out to be in order already, no order is kept.
  EXPECT_EQ(RepackedBytes(linear),
            static_cast<int64_t>(packed.bytes.size()) + (linear.indices == nullptr ? 0 : 4 * linear.cols));
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

// A layer as the reader of checkpoints makes it, and the values that it stands for.
class BookTest : public ::testing::TestWithParam<std::pair<const char*, kernels::WeightType>> {};

TEST_P(BookTest, KeepsTheLayersValues) {
  const auto& [name, type] = GetParam();
  const std::string path = testing::TestFile(std::string("golden/checkpoints/") + name + ".safetensors");
  ASSERT_OK_AND_ASSIGN(const auto file, base::MappedFile::Open(path));
  ASSERT_OK_AND_ASSIGN(const std::vector<SafetensorsTensor> tensors, ParseSafetensors(file->bytes(), path));
  const auto find = [&, &all = tensors](const std::string& suffix) -> const SafetensorsTensor* {
    for (const SafetensorsTensor& tensor : all) {
      if (tensor.name.ends_with(suffix)) return &tensor;
    }
    return nullptr;
  };
  const SafetensorsTensor& expected = *find("expected_dense_out_in");
  CheckpointLinear linear{.name = "w", .rows = expected.dims[0], .cols = expected.dims[1], .group = expected.dims[1]};
  if (type == kernels::WeightType::kBook4) {
    const nlohmann::json state = nlohmann::json::parse(find("bitsandbytes__nf4")->bytes);
    linear.storage = LinearStorage::kNf4;
    linear.group = state.at("blocksize");
    linear.weight = find(".weight");
    linear.scales = find("weight.absmax");
    linear.codebook = find("weight.quant_map");
    if (state.contains("nested_blocksize")) {
      linear.nested = {.scales = find("nested_absmax"),
                       .map = find("nested_quant_map"),
                       .block = state.at("nested_blocksize"),
                       .offset = state.at("nested_offset")};
    }
  } else {
    linear.storage = LinearStorage::kAqlm;
    linear.weight = find(".codes");
    linear.scales = find(".scales");
    linear.codebook = find(".codebooks");
    linear.codebooks = static_cast<int>(linear.codebook->dims[0]);
    linear.bits = linear.codebook->dims[1] == 65536 ? 16 : 8;
  }
  const PackedLinear packed = UnpackScales(linear);
  EXPECT_EQ(packed.type, type);
  EXPECT_EQ(RepackedBytes(linear), static_cast<int64_t>(packed.scales.size() * sizeof(float)));
  std::vector<float> scales(packed.scales);
  if (HasScalesInPlace(linear)) {
    scales.resize(linear.scales->bytes.size() / sizeof(float));
    std::memcpy(scales.data(), linear.scales->bytes.data(), linear.scales->bytes.size());
  }
  kernels::WeightMatrix matrix{.type = packed.type,
                               .data = reinterpret_cast<const std::byte*>(linear.weight->bytes.data()),
                               .rows = linear.rows,
                               .cols = linear.cols,
                               .group = linear.group};
  matrix.scales = scales.data();
  matrix.codebook = reinterpret_cast<const std::byte*>(linear.codebook->bytes.data());
  matrix.codebook_type = *kernels::FindWeightType(SafetensorsTypeName(linear.codebook->type));
  std::vector<float> row(static_cast<size_t>(linear.cols));
  for (int64_t n = 0; n < linear.rows; ++n) {
    kernels::DequantizeRow(matrix, n, row.data());
    for (size_t k = 0; k < row.size(); ++k) {
      float value;
      std::memcpy(&value, expected.bytes.data() + (static_cast<size_t>(n) * row.size() + k) * sizeof value,
                  sizeof value);
      ASSERT_EQ(row[k], value) << "row " << n << " column " << k;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, BookTest,
                         ::testing::Values(std::pair{"nf4-b64", kernels::WeightType::kBook4},
                                           std::pair{"nf4-b64_nested", kernels::WeightType::kBook4},
                                           std::pair{"nf4-b128", kernels::WeightType::kBook4},
                                           std::pair{"aqlm-1x8", kernels::WeightType::kBook1x8},
                                           std::pair{"aqlm-2x8", kernels::WeightType::kBook2x8},
                                           std::pair{"aqlm-1x16", kernels::WeightType::kBook1x16}),
                         [](const auto& test) {
                           std::string name = test.param.first;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

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
