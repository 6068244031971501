// The stories260K models shipped with the tests (five layers of 64, real text), and what tests do with them.
#ifndef QZO_TESTS_SUPPORT_TINY_MODEL_H_
#define QZO_TESTS_SUPPORT_TINY_MODEL_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/emulated.h"
#include "kernels/kernels.h"
#include "kernels/weights.h"
#include "model/graph/engine.h"
#include "model/graph/model.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/temp_dir.h"

namespace qzo::testing {

// `storage` is F32, Q8_0, Q4_0 or Q4_1.
inline std::unique_ptr<model::Model> LoadStories(const std::string& storage) {
  auto loaded = model::Model::Load(TestFile("golden/models/stories260k/stories260K-" + storage + ".gguf"));
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? std::move(loaded).value() : nullptr;
}

// The reference, the variants that this machine runs and those on emulated instructions.
inline std::vector<const kernels::Kernels*> SupportedKernels() {
  std::vector<const kernels::Kernels*> supported;
  for (const kernels::Kernels* kernels : kernels::EveryKernels()) {
    if (kernels->supported()) supported.push_back(kernels);
  }
  return supported;
}

// Lanes of given flat multipliers, laid out as a partition.
class FlatLanes final : public model::LaneSource {
 public:
  FlatLanes(const method::Partition& partition, std::vector<std::vector<float>> lanes)
      : partition_(partition), lanes_(std::move(lanes)) {}
  int lanes() const override { return static_cast<int>(lanes_.size()); }
  kernels::Granularity granularity() const override {
    return partition_.granularity() == method::Granularity::kGroup ? kernels::Granularity::kGroup
                                                                   : kernels::Granularity::kChannel;
  }
  const float* Multipliers(int lane, int ordinal) override {
    return lanes_[static_cast<size_t>(lane)].data() + partition_.multiplied(ordinal).offset;
  }
  std::vector<float>& lane(size_t i) { return lanes_[i]; }

 private:
  const method::Partition& partition_;
  std::vector<std::vector<float>> lanes_;
};

// Copies the keys of `file`, whatever their types, but those that begin with `except`.
inline void CopyKeys(const model::GgufFile& file, GgufBuilder* builder, const std::string& except = "") {
  for (const std::string& key : file.Keys()) {
    if (!except.empty() && key.starts_with(except)) continue;
    if (auto text = file.GetString(key); text.ok()) {
      builder->String(key, *text);
    } else if (auto texts = file.GetStrings(key); texts.ok()) {
      builder->Strings(key, {texts->begin(), texts->end()});
    } else if (auto floats = file.GetFloats(key); floats.ok()) {
      builder->Floats(key, *floats);
    } else if (auto ints = file.GetInts(key); ints.ok()) {
      builder->Int32s(key, {ints->begin(), ints->end()});
    } else if (auto flag = file.GetBool(key); flag.ok()) {
      builder->Bool(key, *flag);
    } else if (auto number = file.GetUint(key); number.ok()) {
      builder->Uint32(key, static_cast<uint32_t>(*number));
    } else if (auto real = file.GetFloat(key); real.ok()) {
      builder->Float(key, static_cast<float>(*real));
    } else {
      ADD_FAILURE() << key;
    }
  }
}

inline kernels::WeightMatrix MatrixOf(const model::GgufTensor& tensor) {
  return {.type = *kernels::FindWeightType(model::FindGgmlType(static_cast<uint32_t>(tensor.type))->name),
          .data = reinterpret_cast<const std::byte*>(tensor.bytes.data()),
          .rows = tensor.dims.size() == 1 ? 1 : tensor.dims[1],
          .cols = tensor.dims[0]};
}

// A GGUF file like the model's with every tensor stored as F32, its trained weights multiplied: what lanes must amount
// to.
inline std::string MultipliedFile(const model::Model& model, const method::Partition& partition,
                                  const std::vector<float>& multipliers) {
  GgufBuilder builder;
  CopyKeys(model.file(), &builder);
  for (const model::GgufTensor& tensor : model.file().tensors()) {
    const kernels::WeightMatrix matrix = MatrixOf(tensor);
    std::vector<float> w(static_cast<size_t>(matrix.rows * matrix.cols));
    for (int64_t row = 0; row < matrix.rows; ++row) kernels::DequantizeRow(matrix, row, w.data() + row * matrix.cols);
    for (const method::PartitionTensor& trained : partition.tensors()) {
      if (trained.shape.name != tensor.name) continue;
      const int64_t values = matrix.rows * matrix.cols / trained.count;  // of one multiplier
      for (size_t i = 0; i < w.size(); ++i)
        w[i] *= multipliers[static_cast<size_t>(trained.offset) + i / static_cast<size_t>(values)];
    }
    builder.Tensor(tensor.name, model::GgmlType::kF32, {tensor.dims.begin(), tensor.dims.end()},
                   {reinterpret_cast<const char*>(w.data()), w.size() * sizeof(float)});
  }
  return builder.Finish();
}

// `bytes` must outlive the model.
inline std::unique_ptr<model::Model> LoadBytes(const std::string& bytes, model::LayerRange range = {}) {
  auto file = model::GgufFile::ParseBytes(bytes, "memory");
  EXPECT_TRUE(file.ok()) << file.status();
  auto loaded = model::Model::Load(std::move(file).value(), range);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? std::move(loaded).value() : nullptr;
}

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_TINY_MODEL_H_
