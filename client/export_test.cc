#include "client/export.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <random>

#include "client/local_model.h"
#include "client/testing/tiny_adapter.h"
#include "kernels/test_data.h"
#include "kernels/weights.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_model.h"

namespace qzo::client {
namespace {

using ::qzo::model::GgmlType;
using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

TEST(FloatToHalf, InvertsEveryHalf) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = kernels::HalfToFloat(static_cast<uint16_t>(half));
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(kernels::HalfToFloat(FloatToHalf(value))));
    else
      ASSERT_EQ(FloatToHalf(value), half);
  }
}

TEST(FloatToHalf, RoundsToNearestEven) {
  for (uint32_t half = 0; half < 0x7C00; ++half) {
    const float low = kernels::HalfToFloat(static_cast<uint16_t>(half));
    const float high = half == 0x7BFF ? 65536.0f : kernels::HalfToFloat(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;  // exact
    const auto even = static_cast<uint16_t>(half + (half & 1));
    ASSERT_EQ(FloatToHalf(middle), even) << low;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), half) << low;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 1e30f)), half + 1) << low;
    ASSERT_EQ(FloatToHalf(-middle), even | 0x8000) << low;
  }
  EXPECT_EQ(FloatToHalf(1e30f), 0x7C00);
}

TEST(FloatToBf16, RoundsToNearestEven) {
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3F808000u)), 0x3F80);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3F818000u)), 0x3F82);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  EXPECT_EQ(FloatToBf16(std::numeric_limits<float>::infinity()), 0x7F80);
  EXPECT_TRUE(std::isnan(std::bit_cast<float>(uint32_t{FloatToBf16(std::nanf(""))} << 16)));
}

double Largest(const std::vector<float>& values) {
  double largest = 0;
  for (const float v : values) largest = std::max(largest, std::fabs(double{v}));
  return largest;
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(double{a[i]} - double{b[i]}));
  return largest;
}

struct RoundTripCase {
  std::string type;
  method::Granularity granularity;
  // Relative error of a stored product. The logits of the tiny model stay within `kAmplification` times it of their
  // largest: 5 layers of 7 products each, and every norm in between removes a common factor.
  double rounding;
};
constexpr double kAmplification = 32;

class RoundTrip : public ::testing::TestWithParam<RoundTripCase> {};

TEST_P(RoundTrip, ExportedLogitsAreTheAdaptersWithinRounding) {
  const auto& [type, granularity, rounding] = GetParam();
  const std::string path = TinyModelPath(type);
  const method::Adapter adapter = MakeTinyAdapter(path, 6, granularity);
  ASSERT_OK_AND_ASSIGN(const auto trained, LocalModel::Load(path, &adapter, 1, kernels::Arithmetic::kFp32));
  testing::TempDir dir;
  ASSERT_OK_AND_ASSIGN(const ExportReport report,
                       ExportGguf(base::RealFileSystem(), trained->model().file(), trained->replica().partition(),
                                  trained->replica().multipliers(), std::nullopt, dir.File("out.gguf")));
  EXPECT_EQ(report.tensors, static_cast<int64_t>(adapter.tensors.size()));
  EXPECT_EQ(report.rounding.overflowed, 0);
  EXPECT_GT(report.rounding.values, 0);
  EXPECT_LE(report.rounding.max_relative_error, rounding);

  ASSERT_OK_AND_ASSIGN(const auto exported,
                       LocalModel::Load(dir.File("out.gguf"), nullptr, 1, kernels::Arithmetic::kFp32));
  ASSERT_OK_AND_ASSIGN(const auto base, LocalModel::Load(path, nullptr, 1, kernels::Arithmetic::kFp32));
  const std::vector<int32_t> ids = {1, 403, 407, 261, 378};
  ASSERT_OK_AND_ASSIGN(const auto want, trained->engine().Logits(ids, trained->lane()));
  ASSERT_OK_AND_ASSIGN(const auto got, exported->engine().Logits(ids, exported->lane()));
  ASSERT_OK_AND_ASSIGN(const auto untrained, base->engine().Logits(ids, base->lane()));
  const double bound = kAmplification * rounding * Largest(want);
  EXPECT_LE(Distance(want, got), bound);
  EXPECT_GT(Distance(want, untrained), 4 * bound) << "the adapter must matter, or the comparison shows nothing";
}

// The file with its embedding as halves: two kinds of plain tensors.
std::string StoriesWithHalves(const std::string& path) {
  const auto file = model::GgufFile::Open(TinyModelPath("Q4_1"));
  testing::GgufBuilder builder;
  testing::CopyKeys(**file, &builder);
  for (const model::GgufTensor& tensor : (*file)->tensors()) {
    std::string bytes(tensor.bytes);
    GgmlType type = tensor.type;
    if (tensor.name == "token_embd.weight") {
      const kernels::WeightMatrix matrix = testing::MatrixOf(tensor);
      std::vector<float> row(static_cast<size_t>(matrix.cols));
      bytes.clear();
      type = GgmlType::kF16;
      for (int64_t n = 0; n < matrix.rows; ++n) {
        kernels::DequantizeRow(matrix, n, row.data());
        for (const float value : row) {
          const uint16_t half = FloatToHalf(value);
          bytes.append(reinterpret_cast<const char*>(&half), sizeof half);
        }
      }
    }
    builder.Tensor(tensor.name, type, {tensor.dims.begin(), tensor.dims.end()}, bytes);
  }
  EXPECT_OK(base::RealFileSystem()->WriteDurably(path, builder.Finish()));
  return path;
}

TEST(ExportGguf, AddsDeltasToPlainTensorsInTheirOwnTypes) {
  testing::TempDir dir;
  const std::string path = StoriesWithHalves(dir.File("in.gguf"));
  const method::Adapter adapter = MakeTinyAdapter(path, 6, method::Granularity::kChannel, /*train_unquantized=*/true);
  ASSERT_OK_AND_ASSIGN(const auto trained, LocalModel::Load(path, &adapter, 1, kernels::Arithmetic::kFp32));
  const method::Partition& partition = trained->replica().partition();
  const absl::Span<const float> values = trained->replica().multipliers();
  EXPECT_TRUE(TensorsThatCannotHold(trained->model().file(), partition).empty());
  ASSERT_OK_AND_ASSIGN(const ExportReport report, ExportGguf(base::RealFileSystem(), trained->model().file(), partition,
                                                             values, std::nullopt, dir.File("out.gguf")));
  EXPECT_EQ(report.tensors, static_cast<int64_t>(adapter.tensors.size()));
  EXPECT_EQ(report.converted, 0);

  ASSERT_OK_AND_ASSIGN(const auto exported,
                       LocalModel::Load(dir.File("out.gguf"), nullptr, 1, kernels::Arithmetic::kFp32));
  int halves = 0, floats = 0, changed = 0;
  for (const method::PartitionTensor& tensor : partition.tensors()) {
    if (!tensor.shape.deltas) continue;
    const model::GgufTensor* old = trained->model().file().FindTensor(tensor.shape.name);
    const model::GgufTensor* made = exported->model().file().FindTensor(tensor.shape.name);
    ASSERT_EQ(made->type, old->type);
    const bool half = old->type == GgmlType::kF16;
    (half ? halves : floats) += 1;
    for (int64_t i = 0; i < tensor.count; ++i) {
      const float delta = values[static_cast<size_t>(tensor.offset + i)];
      if (half) {
        uint16_t was, is;
        std::memcpy(&was, old->bytes.data() + i * 2, sizeof was);
        std::memcpy(&is, made->bytes.data() + i * 2, sizeof is);
        ASSERT_EQ(is, FloatToHalf(kernels::HalfToFloat(was) + delta)) << tensor.shape.name;
        changed += is != was;
      } else {
        float was, is;
        std::memcpy(&was, old->bytes.data() + i * 4, sizeof was);
        std::memcpy(&is, made->bytes.data() + i * 4, sizeof is);
        ASSERT_EQ(is, was + delta) << tensor.shape.name;
      }
    }
  }
  EXPECT_EQ(halves, 1);
  EXPECT_EQ(floats, 11) << "two norms a layer and the last one";
  EXPECT_GT(changed, 10'000);
}

TEST(ExportGguf, LogitsWithDeltasAreTheAdaptersWithinRounding) {
  const std::string path = TinyModelPath("F32");
  const method::Adapter adapter = MakeTinyAdapter(path, 6, method::Granularity::kChannel, /*train_unquantized=*/true);
  ASSERT_OK_AND_ASSIGN(const auto trained, LocalModel::Load(path, &adapter, 1, kernels::Arithmetic::kFp32));
  testing::TempDir dir;
  ASSERT_OK(ExportGguf(base::RealFileSystem(), trained->model().file(), trained->replica().partition(),
                       trained->replica().multipliers(), std::nullopt, dir.File("out.gguf")));
  ASSERT_OK_AND_ASSIGN(const auto exported,
                       LocalModel::Load(dir.File("out.gguf"), nullptr, 1, kernels::Arithmetic::kFp32));
  const std::vector<int32_t> ids = {1, 403, 407, 261, 378};
  ASSERT_OK_AND_ASSIGN(const auto want, trained->engine().Logits(ids, trained->lane()));
  ASSERT_OK_AND_ASSIGN(const auto got, exported->engine().Logits(ids, exported->lane()));
  EXPECT_LE(Distance(want, got), kAmplification * 0x1p-24 * Largest(want));
}

INSTANTIATE_TEST_SUITE_P(Types, RoundTrip,
                         ::testing::Values(RoundTripCase{"F32", method::Granularity::kChannel, 0x1p-24},
                                           RoundTripCase{"Q8_0", method::Granularity::kChannel, 0x1p-11},
                                           RoundTripCase{"Q4_0", method::Granularity::kChannel, 0x1p-11},
                                           RoundTripCase{"Q4_1", method::Granularity::kChannel, 0x1p-11},
                                           RoundTripCase{"Q4_1", method::Granularity::kGroup, 0x1p-11}),
                         [](const auto& test) {
                           return test.param.type +
                                  (test.param.granularity == method::Granularity::kGroup ? "ByGroup" : "ByChannel");
                         });

// A file with one tensor "w" of two rows.
class OneTensor {
 public:
  OneTensor(GgmlType type, int64_t cols, std::string data, int64_t group,
            method::Granularity granularity = method::Granularity::kChannel)
      : bytes_(testing::GgufBuilder().Tensor("w", type, {static_cast<uint64_t>(cols), 2}, data).Finish()),
        partition_(granularity, {{.name = "w", .rows = 2, .cols = cols, .group = group}}) {
    file_ = std::move(model::GgufFile::ParseBytes(bytes_, "one.gguf")).value();
  }
  absl::StatusOr<ExportReport> Export(const std::vector<float>& multipliers,
                                      std::optional<GgmlType> fallback = std::nullopt) {
    return ExportGguf(base::RealFileSystem(), *file_, partition_, multipliers, fallback, dir_.File("out.gguf"));
  }
  std::vector<std::string> CannotHold() { return TensorsThatCannotHold(*file_, partition_); }
  std::vector<float> Held(const std::vector<float>& multipliers) {
    return NearestHeld(*file_, partition_, multipliers);
  }
  // Values of the exported tensor.
  std::vector<float> Values(kernels::WeightType type, int64_t cols) {
    const std::string data = Data();
    std::vector<float> values(static_cast<size_t>(2 * cols));
    for (int64_t row = 0; row < 2; ++row) {
      kernels::DequantizeRow({type, reinterpret_cast<const std::byte*>(data.data()), 2, cols}, row,
                             values.data() + row * cols);
    }
    return values;
  }
  std::string Data() {
    auto out = model::GgufFile::Open(dir_.File("out.gguf"));
    return std::string((*out)->FindTensor("w")->bytes);
  }

 private:
  const std::string bytes_;
  const method::Partition partition_;
  std::unique_ptr<model::GgufFile> file_;
  testing::TempDir dir_;
};

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

TEST(Export, CountsWhatTheTypeCannotHold) {
  // Rows of two halves: 60000 and 2^-14, the smallest normal one.
  OneTensor file(GgmlType::kF16, 2, Bytes<uint16_t>({0x7B53, 0x0400, 0x7B53, 0x0400}), 2);
  ASSERT_OK_AND_ASSIGN(const ExportReport report, file.Export({2.0f, 0.5f}));
  EXPECT_EQ(report.rounding.values, 4);
  EXPECT_EQ(report.rounding.overflowed, 1);
  EXPECT_EQ(report.rounding.subnormal, 1);
  EXPECT_EQ(file.Data(), Bytes<uint16_t>({0x7BFF, 0x0800, 0x7753, 0x0200}));
}

TEST(Export, MultipliesBf16Weights) {
  OneTensor file(GgmlType::kBF16, 1, Bytes<uint16_t>({0x3F80, 0xC000}), 1);
  ASSERT_OK(file.Export({1.5f, 0.5f}));
  EXPECT_EQ(file.Data(), Bytes<uint16_t>({0x3FC0, 0xBF80}));
}

TEST(Export, LeavesQuantsAlone) {
  std::string block = Bytes<uint16_t>({0x3C00, 0xB800}) + std::string(16, '\x5A');  // Q4_1: d = 1, m = -0.5
  OneTensor file(GgmlType::kQ4_1, 32, block + block, 32);
  ASSERT_OK(file.Export({2.0f, 1.0f}));
  EXPECT_EQ(file.Data(), Bytes<uint16_t>({0x4000, 0xBC00}) + std::string(16, '\x5A') + block);
}

TEST(Export, MultipliesTheSuperBlocksOfKQuants) {
  const std::string tail = Bytes<uint16_t>({0x3C00, 0xB800});  // Q2_K ends with d = 1 and dmin = -0.5
  const std::string block = std::string(80, '\x5A') + tail;
  OneTensor file(GgmlType::kQ2_K, 256, block + block, 16);
  ASSERT_OK(file.Export({2.0f, 1.0f}));
  EXPECT_EQ(file.Data(), std::string(80, '\x5A') + Bytes<uint16_t>({0x4000, 0xBC00}) + block);
}

// What the stored halves can say, the decoder reads back: every type, every group of two rows.
TEST(Export, EveryTypeWithAHalfScaleDecodesToItsMultiple) {
  std::mt19937 random(5);
  for (const kernels::WeightType type : kernels::AllWeightTypes()) {
    if (type >= kernels::WeightType::kU2x32) continue;  // not GGUF's
    const auto stored = static_cast<GgmlType>([&] {
      uint32_t id = 0;
      while (model::FindGgmlType(id) == nullptr || model::FindGgmlType(id)->name != kernels::WeightTypeName(type)) ++id;
      return id;
    }());
    const std::vector<std::byte> bytes = kernels::RandomWeights(random, type, 2, 256);
    OneTensor file(stored, 256, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 256);
    const absl::StatusOr<ExportReport> report = file.Export({2.0f, 0.5f});
    if (stored == GgmlType::kMXFP4) {
      EXPECT_THAT(report, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("w: type MXFP4 cannot hold")));
      continue;
    }
    ASSERT_OK(report);
    if (report->rounding.subnormal > 0) continue;  // then halves are rounded
    const std::string exported = file.Data();
    std::vector<float> before(256), after(256);
    for (int64_t row = 0; row < 2; ++row) {
      kernels::DequantizeRow({type, bytes.data(), 2, 256}, row, before.data());
      kernels::DequantizeRow({type, reinterpret_cast<const std::byte*>(exported.data()), 2, 256}, row, after.data());
      for (size_t i = 0; i < 256; ++i) ASSERT_EQ(after[i], before[i] * (row == 0 ? 2.0f : 0.5f));
    }
  }
}

TEST(Export, RefusesMoreMultipliersThanStoredScales) {
  OneTensor file(GgmlType::kQ6_K, 256, std::string(420, '\0'), 16, method::Granularity::kGroup);
  EXPECT_THAT(file.CannotHold(), ::testing::ElementsAre("w (Q6_K)"));
  EXPECT_THAT(file.Export(std::vector<float>(32, 1.0f)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("w: type Q6_K cannot hold the adapter's")));
  std::vector<float> multipliers(32, 1.0f);
  multipliers[3] = 2.0f;
  std::vector<float> means(32, 1.0f);
  std::fill(means.begin(), means.begin() + 16, 1.0625f);
  EXPECT_EQ(file.Held(multipliers), means);

  OneTensor powers(GgmlType::kMXFP4, 32, std::string(34, 'A'), 32);
  EXPECT_EQ(powers.Held({1.3f, 0.6f}), (std::vector<float>{1.0f, 0.5f}));
  OneTensor held(GgmlType::kQ6_K, 256, std::string(420, '\0'), 16);
  EXPECT_TRUE(held.CannotHold().empty());
}

// What cannot hold the multipliers becomes a type that can, within that type's rounding of k · w.
TEST(Export, StoresWhatCannotHoldThemAsAnotherType) {
  std::mt19937 random(9);
  const std::vector<std::byte> bytes = kernels::RandomWeights(random, kernels::WeightType::kQ4_K, 2, 256);
  OneTensor file(GgmlType::kQ4_K, 256, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 32,
                 method::Granularity::kGroup);
  std::vector<float> multipliers(16);
  for (size_t i = 0; i < multipliers.size(); ++i) multipliers[i] = 0.5f + static_cast<float>(i) / 8;
  std::vector<float> exact(512);
  for (int64_t row = 0; row < 2; ++row) {
    kernels::DequantizeRow({kernels::WeightType::kQ4_K, bytes.data(), 2, 256}, row, exact.data() + 256 * row);
  }
  for (size_t i = 0; i < exact.size(); ++i) exact[i] *= multipliers[i / 32];
  struct Case {
    GgmlType type;
    kernels::WeightType read_as;
    double share;  // of a block's range that a value may be off: half a step, and what rounding the scale adds
  };
  for (const auto& [type, read_as, share] : {Case{GgmlType::kF16, kernels::WeightType::kF16, 0x1p-11},
                                             Case{GgmlType::kQ8_0, kernels::WeightType::kQ8_0, 0.5 / 127 + 0x1p-11},
                                             Case{GgmlType::kQ4_1, kernels::WeightType::kQ4_1, 0.5 / 15 + 0x1p-10}}) {
    ASSERT_OK_AND_ASSIGN(const ExportReport report, file.Export(multipliers, type));
    EXPECT_EQ(report.converted, 1);
    const std::vector<float> values = file.Values(read_as, 256);
    for (size_t block = 0; block < exact.size(); block += 32) {
      double range = 0;
      for (size_t i = block; i < block + 32; ++i) range = std::max(range, 2 * std::fabs(double{exact[i]}));
      for (size_t i = block; i < block + 32; ++i) ASSERT_NEAR(values[i], exact[i], share * range + 0x1p-24) << i;
    }
  }
}

}  // namespace
}  // namespace qzo::client
