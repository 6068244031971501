// Checkpoints with an adapter folded in: only the scales differ, and they hold it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/fs.h"
#include "client/comparing_file_system.h"
#include "client/export.h"
#include "kernels/weights.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace qzo::client {
namespace {

using ::qzo::testing::StatusIs;
using ::qzo::testing::TinyCheckpoint;
using ::testing::HasSubstr;

struct Case {
  std::string method;
  int bits;
  bool act_order;
  method::Granularity granularity;
};

class ExportedCheckpoint : public ::testing::TestWithParam<Case> {
 protected:
  // A directory with the checkpoint, its companions, and what is no part of it.
  std::string Write(const TinyCheckpoint& tiny, size_t shards) {
    const std::string path = dir_.File("model");
    EXPECT_OK(base::RealFileSystem()->CreateDirectories(path));
    auto files = tiny.Files(shards);
    files["tokenizer.model"] = "pieces";
    files["notes.txt"] = "mine";
    for (const auto& [name, bytes] : files) EXPECT_OK(base::RealFileSystem()->WriteDurably(path + "/" + name, bytes));
    return path;
  }

  testing::TempDir dir_;
};

TEST_P(ExportedCheckpoint, HoldsTheMultipliersInItsScales) {
  const auto& [method, bits, act_order, granularity] = GetParam();
  const std::string path = Write(TinyCheckpoint(method, bits, act_order), method == "gptq" ? 3 : 1);
  ASSERT_OK_AND_ASSIGN(const auto before, model::Checkpoint::Open(path));
  ASSERT_OK_AND_ASSIGN(const model::CheckpointInfo read, model::ReadCheckpointInfo(*before));
  const method::Partition partition(granularity, read.info.trained);
  std::vector<float> multipliers(static_cast<size_t>(partition.multipliers()));
  for (size_t i = 0; i < multipliers.size(); ++i) multipliers[i] = static_cast<float>(8 + i % 7) / 8;
  const std::string out = dir_.File("out");
  ASSERT_OK_AND_ASSIGN(const ExportReport report,
                       ExportCheckpoint(base::RealFileSystem(), *before, partition, multipliers, out));
  EXPECT_EQ(report.tensors, 7);
  EXPECT_EQ(report.rounding.overflowed, 0);

  ASSERT_OK_AND_ASSIGN(const auto after, model::Checkpoint::Open(out));
  ASSERT_OK(model::ReadCheckpointInfo(*after));
  ASSERT_EQ(after->tensors().size(), before->tensors().size());
  const char* const parameter = method.empty() ? ".weight" : ".scales";
  const auto trained = [&](const std::string& name) -> const method::PartitionTensor* {
    for (const method::PartitionTensor& tensor : partition.tensors()) {
      const std::string layer = tensor.shape.name.substr(0, tensor.shape.name.rfind('.'));
      if (name == layer + parameter) return &tensor;
    }
    return nullptr;
  };
  int changed = 0;
  for (const model::SafetensorsTensor& old : before->tensors()) {
    const model::SafetensorsTensor* made = after->FindTensor(old.name);
    ASSERT_NE(made, nullptr);
    EXPECT_EQ(made->dims, old.dims);
    const method::PartitionTensor* tensor = trained(old.name);
    if (tensor == nullptr) {
      EXPECT_EQ(made->bytes, old.bytes) << old.name;
      continue;
    }
    ++changed;
    const int64_t rows = tensor->shape.rows, per_row = tensor->count / rows;
    for (int64_t row = 0; row < rows; ++row) {
      // Plain weights are [rows, columns] in F32, scales of AQLM [rows] in F16, the others' [groups, rows].
      const int64_t columns = method.empty() ? tensor->shape.cols : tensor->shape.cols / tensor->shape.group;
      for (int64_t column = 0; column < columns; ++column) {
        const float k = multipliers[static_cast<size_t>(tensor->offset + row * per_row + column * per_row / columns)];
        if (method.empty()) {
          float was, is;
          std::memcpy(&was, old.bytes.data() + (row * columns + column) * 4, sizeof was);
          std::memcpy(&is, made->bytes.data() + (row * columns + column) * 4, sizeof is);
          ASSERT_EQ(is, k * was);
        } else {
          uint16_t was, is;
          std::memcpy(&was, old.bytes.data() + (column * rows + row) * 2, sizeof was);
          std::memcpy(&is, made->bytes.data() + (column * rows + row) * 2, sizeof is);
          ASSERT_EQ(is, FloatToHalf(k * kernels::HalfToFloat(was)));
        }
      }
    }
  }
  EXPECT_EQ(changed, 7);
  EXPECT_EQ(base::RealFileSystem()->Read(out + "/tokenizer.model").value(), "pieces");
  EXPECT_FALSE(base::RealFileSystem()->Exists(out + "/notes.txt"));

  // What was written is what would be written, until a byte of it changes.
  ComparingFileSystem compare(base::RealFileSystem());
  EXPECT_OK(ExportCheckpoint(&compare, *before, partition, multipliers, out));
  multipliers.back() += 0.5f;
  EXPECT_THAT(ExportCheckpoint(&compare, *before, partition, multipliers, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the byte is another")));
}

INSTANTIATE_TEST_SUITE_P(Formats, ExportedCheckpoint,
                         ::testing::Values(Case{"", 0, false, method::Granularity::kChannel},
                                           Case{"gptq", 4, true, method::Granularity::kGroup},
                                           Case{"gptq", 3, false, method::Granularity::kChannel},
                                           Case{"awq", 4, false, method::Granularity::kGroup},
                                           Case{"aqlm", 8, false, method::Granularity::kChannel}),
                         [](const auto& test) {
                           return (test.param.method.empty() ? "plain" : test.param.method) +
                                  std::to_string(test.param.bits) +
                                  (test.param.granularity == method::Granularity::kGroup ? "ByGroup" : "ByChannel");
                         });

TEST_F(ExportedCheckpoint, HoldsDeltasInItsPlainTensors) {
  TinyCheckpoint tiny("aqlm", 8);
  std::vector<uint16_t> embedding(512 * 64);
  for (size_t i = 0; i < embedding.size(); ++i) embedding[i] = FloatToBf16(static_cast<float>(i % 97) / 97);
  tiny.Set("model.embed_tokens.weight", "BF16", {512, 64}, embedding);
  const std::string path = Write(tiny, 3);
  ASSERT_OK_AND_ASSIGN(const auto before, model::Checkpoint::Open(path));
  ASSERT_OK_AND_ASSIGN(const model::CheckpointInfo read, model::ReadCheckpointInfo(*before));
  method::MethodSpec spec;
  spec.train_unquantized = true;
  const method::Partition partition = read.info.PartitionFor(spec);
  std::vector<float> values = partition.InitialValues();
  for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<float>(i % 11) / 16;
  const std::string out = dir_.File("out");
  ASSERT_OK_AND_ASSIGN(const ExportReport report,
                       ExportCheckpoint(base::RealFileSystem(), *before, partition, values, out));
  EXPECT_EQ(report.tensors, 7 + 5) << "two embeddings and three norms";
  ASSERT_OK_AND_ASSIGN(const auto after, model::Checkpoint::Open(out));
  for (const method::PartitionTensor& tensor : partition.tensors()) {
    if (!tensor.shape.deltas) continue;
    const std::string_view old = before->FindTensor(tensor.shape.name)->bytes;
    const std::string_view made = after->FindTensor(tensor.shape.name)->bytes;
    const bool bf16 = tensor.shape.name == "model.embed_tokens.weight";
    ASSERT_EQ(static_cast<int64_t>(made.size()), tensor.count * (bf16 ? 2 : 4));
    for (int64_t i = 0; i < tensor.count; ++i) {
      const float delta = values[static_cast<size_t>(tensor.offset + i)];
      if (bf16) {
        uint16_t was, is;
        std::memcpy(&was, old.data() + i * 2, sizeof was);
        std::memcpy(&is, made.data() + i * 2, sizeof is);
        ASSERT_EQ(is, FloatToBf16(Bf16ToFloat(was) + delta));
      } else {
        float was, is;
        std::memcpy(&was, old.data() + i * 4, sizeof was);
        std::memcpy(&is, made.data() + i * 4, sizeof is);
        ASSERT_EQ(is, was + delta) << tensor.shape.name;
      }
    }
  }
  const method::PartitionTensor& layer = partition.multiplied(3);
  uint16_t was, is;
  const std::string scales = layer.shape.name.substr(0, layer.shape.name.rfind('.')) + ".scales";
  std::memcpy(&was, before->FindTensor(scales)->bytes.data(), sizeof was);
  std::memcpy(&is, after->FindTensor(scales)->bytes.data(), sizeof is);
  EXPECT_EQ(is, FloatToHalf(values[static_cast<size_t>(layer.offset)] * kernels::HalfToFloat(was)))
      << "multipliers stand between deltas";
}

TEST_F(ExportedCheckpoint, NeverGoesIntoADirectoryWithSomethingInIt) {
  const std::string path = Write(TinyCheckpoint(), 1);
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, model::Checkpoint::Open(path));
  ASSERT_OK_AND_ASSIGN(const model::CheckpointInfo read, model::ReadCheckpointInfo(*checkpoint));
  const method::Partition partition(method::Granularity::kChannel, read.info.trained);
  const std::vector<float> ones(static_cast<size_t>(partition.multipliers()), 1.0f);
  EXPECT_THAT(ExportCheckpoint(base::RealFileSystem(), *checkpoint, partition, ones, path),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("'config.json' lies in it")));
}

TEST_F(ExportedCheckpoint, CannotHoldMultipliersInScalesThatAreCodes) {
  const std::string path = Write(TinyCheckpoint("bitsandbytes"), 1);
  ASSERT_OK_AND_ASSIGN(const auto checkpoint, model::Checkpoint::Open(path));
  ASSERT_OK_AND_ASSIGN(const model::CheckpointInfo read, model::ReadCheckpointInfo(*checkpoint));
  const method::Partition partition(method::Granularity::kChannel, read.info.trained);
  const std::vector<float> ones(static_cast<size_t>(partition.multipliers()), 1.0f);
  EXPECT_THAT(ExportCheckpoint(base::RealFileSystem(), *checkpoint, partition, ones, dir_.File("out")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("are quantized themselves")));
  EXPECT_FALSE(base::RealFileSystem()->Exists(dir_.File("out")));
}

TEST(ExportMultipliers, IsASafetensorsFile) {
  testing::TempDir dir;
  const method::Partition partition(method::Granularity::kGroup, {{.name = "a", .rows = 2, .cols = 64, .group = 32},
                                                                  {.name = "b", .rows = 1, .cols = 32, .group = 32},
                                                                  {"c", 1, 3, 3, /*deltas=*/true}});
  const std::vector<float> multipliers = {1, 2, 3, 4, 5, -1, 0, 1};
  ASSERT_OK(ExportMultipliers(base::RealFileSystem(), partition, multipliers, {{"step", "7"}}, dir.File("m")));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, base::RealFileSystem()->Read(dir.File("m")));
  ASSERT_OK_AND_ASSIGN(const auto tensors, model::ParseSafetensors(bytes, "m"));
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].dims, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(tensors[1].dims, (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(tensors[2].dims, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(std::memcmp(tensors[1].bytes.data(), &multipliers[4], sizeof(float)), 0);
  EXPECT_THAT(bytes, HasSubstr(R"("__metadata__":{"step":"7"})"));
}

}  // namespace
}  // namespace qzo::client
