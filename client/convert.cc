#include "client/convert.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "client/convert_settings.h"
#include "client/requantize.h"
#include "client/stored_numbers.h"
#include "kernels/weights.h"
#include "model/formats/architecture.h"
#include "model/formats/checkpoint_info.h"
#include "model/formats/gguf_writer.h"
#include "model/graph/repack.h"
#include "model/tokenizer/gguf_tables.h"

namespace qzo::client {
namespace {

using ::qzo::model::CheckpointLinear;
using ::qzo::model::GgmlType;
using ::qzo::model::GgufSink;
using ::qzo::model::Part;

constexpr float kLargestHalf = 65504;

// ggml's numbers of what a file is mostly made of.
uint32_t FileType(GgmlType type) {
  switch (type) {
    case GgmlType::kF16:
      return 1;
    case GgmlType::kQ4_0:
      return 2;
    case GgmlType::kQ4_1:
      return 3;
    default:
      QZO_CHECK(type == GgmlType::kQ8_0);
      return 7;
  }
}

// Rows of a matrix, and what multiplies them: one number a row, or one for each of `per_row` equal parts of its columns
// as they are stored.
struct Rows {
  kernels::WeightMatrix matrix;
  const float* multipliers = nullptr;
  int64_t per_row = 1;
  const float* deltas = nullptr;  // what is added: a number for every value

  float Multiplier(int64_t row, int64_t column) const {
    return multipliers[row * per_row + column * per_row / matrix.cols];
  }
};

class Converter {
 public:
  Converter(const model::Checkpoint& checkpoint, GgmlType type, const Fold& fold)
      : checkpoint_(checkpoint), type_(type), fold_(fold) {}

  absl::Status Prepare() {
    QZO_ASSIGN_OR_RETURN(read_, model::ReadCheckpointInfo(checkpoint_));
    const size_t layers = read_.linears.size(), tensors = layers + (HasDeltas() ? read_.info.unquantized.size() : 0);
    if (fold_.partition != nullptr && fold_.partition->tensors().size() != tensors) {
      return absl::InvalidArgumentError(absl::StrCat(checkpoint_.path(), ": ", tensors, " trained tensors, but ",
                                                     fold_.partition->tensors().size(), " in the adapter"));
    }
    const absl::StatusOr<SettingsInGguf> settings = SettingsToGguf(read_.info);
    if (!settings.ok()) {
      return absl::Status(settings.status().code(),
                          absl::StrCat(checkpoint_.path(), ": ", settings.status().message()));
    }
    settings_ = *settings;
    QZO_ASSIGN_OR_RETURN(const model::TokenizerInGguf tokenizer,
                         model::TokenizerToGguf(checkpoint_, read_.info.vocabulary));
    report_.differing_tokens = tokenizer.differing;
    settings_.values.Uint32("general.file_type", FileType(type_)).Append(tokenizer.values);
    for (size_t i = 0; i < read_.linears.size(); ++i) linears_[read_.linears[i].name] = i;
    AddTensors();
    return absl::OkStatus();
  }

  absl::StatusOr<ConvertReport> Write(base::FileSystem* fs, const std::string& destination) {
    report_.tensors = static_cast<int64_t>(tensors_.size());
    QZO_RETURN_IF_ERROR(model::WriteGgufFile(fs, settings_.values.Header(tensors_.size()), tensors_, {}, destination));
    return report_;
  }

 private:
  bool HasDeltas() const { return fold_.partition != nullptr && fold_.partition->deltas() > 0; }
  // Of a plain tensor; nullptr: none.
  const float* DeltasOf(const std::string& stored) const {
    const int place = HasDeltas() ? read_.info.FindUnquantized(stored) : -1;
    return place < 0 ? nullptr : fold_.multipliers.data() + fold_.partition->added(place).offset;
  }

  void AddTensors() {
    const model::ModelInfo& info = read_.info;
    const GgmlType table = type_ == GgmlType::kF16 ? GgmlType::kF16 : GgmlType::kQ8_0;
    AddMatrix("token_embd.weight", info.embedding.weight, table);
    if (!info.tied_head) AddMatrix("output.weight", info.head.weight, table);
    if (!info.positions.weight.empty()) AddMatrix("position_embd.weight", info.positions.weight, GgmlType::kF32);
    AddVectors("output_norm", info.output_norm, info.norm_shift);
    for (const auto& [name, values] : settings_.tensors) {
      const std::string_view bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
      Add(name, {static_cast<int64_t>(values.size())}, GgmlType::kF32,
          [bytes](const GgufSink& sink) { return sink(bytes); });
    }
    const model::Architecture& architecture = *model::FindCheckpointArchitecture(info.architecture);
    for (size_t layer = 0; layer < info.blocks.size(); ++layer) {
      for (const model::PartNames& names : architecture.parts) {
        const std::string name = absl::StrCat("blk.", layer, ".", names.gguf);
        const model::TensorNames& stored = info.blocks[layer].at(names.part);
        if (!model::ShapeOf(info, names.part).matrix) {
          AddVectors(name, stored, info.norm_shift);
          continue;
        }
        AddLinear(name + ".weight", linears_.at(stored.weight), names.part);
        if (!stored.bias.empty()) AddVector(name + ".bias", stored.bias, 0);
      }
    }
  }

  void Add(const std::string& name, std::vector<int64_t> dims, GgmlType type,
           std::function<absl::Status(const GgufSink&)> write) {
    uint64_t values = 1;
    for (const int64_t dim : dims) values *= static_cast<uint64_t>(dim);
    tensors_.push_back({.name = name,
                        .dims = std::move(dims),
                        .type = type,
                        .size = model::GgmlBytes(type, values),
                        .write = std::move(write)});
  }

  void AddVectors(const std::string& name, const model::TensorNames& stored, float shift) {
    AddVector(name + ".weight", stored.weight, shift);
    if (!stored.bias.empty()) AddVector(name + ".bias", stored.bias, 0);
  }

  void AddVector(const std::string& name, const std::string& stored, float shift) {
    const kernels::WeightMatrix vector = MatrixOf(*checkpoint_.FindTensor(stored));
    Add(name, {vector.cols}, GgmlType::kF32, [this, vector, shift, deltas = DeltasOf(stored)](const GgufSink& sink) {
      row_.resize(static_cast<size_t>(vector.cols));
      kernels::DequantizeRow(vector, 0, row_.data());
      for (float& value : row_) value += shift;
      for (size_t i = 0; i < row_.size() && deltas != nullptr; ++i) row_[i] += deltas[i];
      bytes_.clear();
      AppendRow(GgmlType::kF32, row_, &bytes_);
      return sink(bytes_);
    });
  }

  void AddMatrix(const std::string& name, const std::string& stored, GgmlType type) {
    const model::SafetensorsTensor* tensor = checkpoint_.FindTensor(stored);
    const kernels::WeightMatrix matrix = MatrixOf(*tensor);
    type = Fitting(type, matrix.cols);
    const Rows rows{.matrix = matrix, .deltas = DeltasOf(stored)};
    Add(name, {matrix.cols, matrix.rows}, type, [this, tensor, rows, type](const GgufSink& sink) {
      for (int64_t row = 0; row < rows.matrix.rows; ++row)
        QZO_RETURN_IF_ERROR(WriteRow(tensor->name, rows, row, type, sink));
      checkpoint_.Release(*tensor);
      return absl::OkStatus();
    });
  }

  void AddLinear(const std::string& name, size_t index, Part part) {
    const CheckpointLinear& linear = read_.linears[index];
    const GgmlType type = Fitting(type_, linear.cols);
    const bool permuted = settings_.pairs_adjacent && (part == Part::kQ || part == Part::kK);
    Add(name, {linear.cols, linear.rows}, type, [this, &linear, index, type, permuted](const GgufSink& sink) {
      const model::PackedLinear packed = PackLinear(linear);
      Rows rows{.matrix = MatrixOf(linear, ViewOf(packed))};
      if (fold_.partition != nullptr) {
        const method::PartitionTensor& trained = fold_.partition->multiplied(static_cast<int>(index));
        rows.multipliers = fold_.multipliers.data() + trained.offset;
        rows.per_row = trained.count / linear.rows;
      }
      for (int64_t row = 0; row < linear.rows; ++row) {
        const int64_t from = permuted ? HalvesRow(row) : row;
        QZO_RETURN_IF_ERROR(WriteRow(linear.name, rows, from, type, sink));
      }
      report_.rows += linear.rows;
      for (const model::SafetensorsTensor* source : {linear.weight, linear.zeros, linear.scales}) {
        if (source != nullptr) checkpoint_.Release(*source);
      }
      return absl::OkStatus();
    });
  }

  static GgmlType Fitting(GgmlType type, int64_t cols) {
    return cols % model::FindGgmlType(static_cast<uint32_t>(type))->block_values == 0 ? type : GgmlType::kF16;
  }

  // Of row 2i + j of a head, whose pairs are neighbours: row i + j · head_dim / 2 of the same head.
  int64_t HalvesRow(int64_t row) const {
    const int64_t dim = read_.info.head_dim, in_head = row % dim;
    return row - in_head + in_head / 2 + in_head % 2 * (dim / 2);
  }

  absl::Status WriteRow(const std::string& name, const Rows& rows, int64_t row, GgmlType type, const GgufSink& sink) {
    const kernels::WeightMatrix& w = rows.matrix;
    bytes_.clear();
    if (KeepsCodes(rows, row, type)) {
      ++report_.kept_rows;
      return sink(bytes_);
    }
    bytes_.clear();
    stored_.resize(static_cast<size_t>(w.cols));
    kernels::DequantizeRow(w, row, stored_.data());
    for (int64_t k = 0; k < w.cols && rows.multipliers != nullptr; ++k) {
      stored_[static_cast<size_t>(k)] *= rows.Multiplier(row, k);
    }
    for (int64_t k = 0; k < w.cols && rows.deltas != nullptr; ++k) {
      stored_[static_cast<size_t>(k)] += rows.deltas[row * w.cols + k];
    }
    absl::Span<const float> values = stored_;
    if (w.order != nullptr) {
      row_.resize(stored_.size());
      for (size_t k = 0; k < stored_.size(); ++k) row_[static_cast<size_t>(w.order[k])] = stored_[k];
      values = row_;
    }
    for (const float value : values) {
      if (std::fabs(value) <= kLargestHalf || (std::isfinite(value) && type == GgmlType::kF32)) continue;
      return absl::InvalidArgumentError(absl::StrCat(checkpoint_.path(), ": tensor '", name, "' has the value ", value,
                                                     ", beyond the half precision of GGUF's types"));
    }
    AppendRow(type, values, &bytes_);
    return sink(bytes_);
  }

  // Appends the row's codes to bytes_; false where the type cannot have them.
  bool KeepsCodes(const Rows& rows, int64_t row, GgmlType type) {
    const kernels::WeightMatrix& w = rows.matrix;
    if (kernels::BlockValues(w.type) == 1 || kernels::HasCodebook(w.type) || w.order != nullptr) return false;
    const std::byte* at = w.data + row * (w.cols / kernels::BlockValues(w.type) * kernels::BlockBytes(w.type));
    for (int64_t k = 0; k < w.cols; k += 32) {
      kernels::CodeBlock block;
      kernels::DecodeCodes(w.type, at, k, &block);
      for (float& scale : block.scale) {
        if (rows.multipliers != nullptr) scale = kernels::HalfToFloat(FloatToHalf(scale * rows.Multiplier(row, k)));
      }
      if (!AppendCodes(type, block, &bytes_)) return false;
    }
    return true;
  }

  const model::Checkpoint& checkpoint_;
  const GgmlType type_;
  const Fold& fold_;
  model::CheckpointInfo read_;
  SettingsInGguf settings_;
  std::map<std::string, size_t> linears_;  // by the names of their weights
  std::vector<model::TensorToWrite> tensors_;
  ConvertReport report_;
  std::vector<float> stored_, row_;
  std::string bytes_;
};

}  // namespace

absl::StatusOr<ConvertReport> ConvertToGguf(base::FileSystem* fs, const model::Checkpoint& checkpoint, GgmlType type,
                                            const Fold& fold, const std::string& destination) {
  Converter converter(checkpoint, type, fold);
  QZO_RETURN_IF_ERROR(converter.Prepare());
  return converter.Write(fs, destination);
}

}  // namespace qzo::client
