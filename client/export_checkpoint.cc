// ExportCheckpoint and ExportMultipliers.
#include <algorithm>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "client/export.h"

namespace qzo::client {
namespace {

using ::qzo::model::CheckpointLinear;
using ::qzo::model::LinearStorage;
using ::qzo::model::SafetensorsTensor;
using ::qzo::model::SafetensorsType;

constexpr char kConfig[] = "config.json";
// Of the files that lie beside a model, those that other programs want with it.
constexpr std::string_view kCompanions[] = {"tokenizer.model", "vocab.json",  "merges.txt",   "added_tokens.json",
                                            "LICENSE",         "LICENSE.txt", "USE_POLICY.md"};

Number NumberOf(SafetensorsType type) {
  if (type == SafetensorsType::kF32) return Number::kF32;
  if (type == SafetensorsType::kF16) return Number::kF16;
  QZO_CHECK(type == SafetensorsType::kBF16);
  return Number::kBF16;
}

// A tensor that multipliers or deltas change, changed.
class Change {
 public:
  virtual ~Change() = default;
  const SafetensorsTensor& tensor() const { return tensor_; }
  std::string Bytes(Rounding* rounding) const {
    std::string bytes(tensor_.bytes);
    Apply(NumberOf(tensor_.type), static_cast<int64_t>(model::SafetensorsTypeBytes(tensor_.type)), bytes.data(),
          rounding);
    return bytes;
  }

 protected:
  // `values` is the flat array of the partition.
  Change(const SafetensorsTensor& tensor, const method::PartitionTensor& trained, absl::Span<const float> values)
      : values_(values.subspan(static_cast<size_t>(trained.offset), static_cast<size_t>(trained.count))),
        tensor_(tensor) {}

  const absl::Span<const float> values_;

 private:
  virtual void Apply(Number number, int64_t size, char* bytes, Rounding* rounding) const = 0;

  const SafetensorsTensor& tensor_;
};

class AddedDeltas final : public Change {
 public:
  AddedDeltas(const SafetensorsTensor& tensor, const method::PartitionTensor& trained, absl::Span<const float> values)
      : Change(tensor, trained, values) {}

 private:
  void Apply(Number number, int64_t size, char* bytes, Rounding* rounding) const override {
    for (const float delta : values_) {
      AddStored(number, delta, bytes, rounding);
      bytes += size;
    }
  }
};

class MultipliedLayer final : public Change {
 public:
  MultipliedLayer(const CheckpointLinear& linear, const method::PartitionTensor& trained,
                  absl::Span<const float> values)
      : Change(linear.storage == LinearStorage::kPlain ? *linear.weight : *linear.scales, trained, values),
        linear_(linear),
        per_row_(trained.count / trained.shape.rows) {}

 private:
  void Apply(Number number, int64_t size, char* bytes, Rounding* rounding) const override {
    const bool plain = linear_.storage == LinearStorage::kPlain;
    const int64_t columns = plain ? linear_.cols : linear_.cols / linear_.group;
    // Plain weights lie row by row unless transposed, and so do scales, but GPTQ's and AWQ's, which lie group by group.
    const bool by_column =
        linear_.transposed || linear_.storage == LinearStorage::kGptq || linear_.storage == LinearStorage::kAwq;
    for (int64_t row = 0; row < linear_.rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        const float multiplier = values_[static_cast<size_t>(row * per_row_ + column * per_row_ / columns)];
        const int64_t at = by_column ? column * linear_.rows + row : row * columns + column;
        MultiplyStored(number, multiplier, bytes + at * size, rounding);
      }
    }
  }

  const CheckpointLinear& linear_;
  const int64_t per_row_;
};

// A file of weights with the changed tensors in it: they have the same sizes.
absl::Status WriteWeights(base::FileSystem* fs, std::string_view bytes, const std::vector<const Change*>& changes,
                          const std::string& path, Rounding* rounding) {
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::PendingFile> out, fs->CreatePending(path));
  size_t copied = 0;
  for (const Change* change : changes) {
    const std::string_view old = change->tensor().bytes;
    const auto at = static_cast<size_t>(old.data() - bytes.data());
    QZO_RETURN_IF_ERROR(out->Append(bytes.substr(copied, at - copied)));
    QZO_RETURN_IF_ERROR(out->Append(change->Bytes(rounding)));
    copied = at + old.size();
  }
  QZO_RETURN_IF_ERROR(out->Append(bytes.substr(copied)));
  return out->Commit();
}

bool LiesIn(std::string_view part, std::string_view whole) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

absl::Status CopyCompanions(base::FileSystem* fs, const std::string& from, const std::string& to) {
  for (const std::string_view name : kCompanions) {
    const std::string path = absl::StrCat(from, "/", std::string(name));
    if (!fs->Exists(path)) continue;
    QZO_ASSIGN_OR_RETURN(const std::string bytes, fs->Read(path));
    QZO_RETURN_IF_ERROR(fs->WriteDurably(absl::StrCat(to, "/", std::string(name)), bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ExportReport> ExportCheckpoint(base::FileSystem* fs, const model::Checkpoint& checkpoint,
                                              const method::Partition& partition, absl::Span<const float> multipliers,
                                              const std::string& destination) {
  QZO_ASSIGN_OR_RETURN(const model::CheckpointInfo read, model::ReadCheckpointInfo(checkpoint));
  const auto layers = std::count_if(partition.tensors().begin(), partition.tensors().end(),
                                    [](const method::PartitionTensor& tensor) { return !tensor.shape.deltas; });
  if (static_cast<std::ptrdiff_t>(read.linears.size()) != layers) {
    return absl::InvalidArgumentError(absl::StrCat(checkpoint.path(), ": ", read.linears.size(),
                                                   " layers are trained, but ", layers, " in the adapter"));
  }
  for (const CheckpointLinear& linear : read.linears) {
    if (!linear.nested) continue;
    return absl::InvalidArgumentError(absl::StrCat(checkpoint.path(), ": the scales of '", linear.name,
                                                   "' are quantized themselves and cannot hold multipliers: --type "
                                                   "writes a GGUF file, --multipliers the multipliers alone"));
  }
  QZO_RETURN_IF_ERROR(fs->CreateDirectories(destination));
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string> there, fs->List(destination));
  if (!there.empty()) {
    return absl::AlreadyExistsError(absl::StrCat(destination, ": not empty, '", there[0], "' lies in it"));
  }
  std::vector<std::unique_ptr<const Change>> changes;
  for (const method::PartitionTensor& trained : partition.tensors()) {
    if (trained.shape.deltas) {
      const SafetensorsTensor* tensor = checkpoint.FindTensor(trained.shape.name);
      QZO_CHECK(tensor != nullptr);  // the partition is that of the checkpoint
      changes.push_back(std::make_unique<AddedDeltas>(*tensor, trained, multipliers));
    }
  }
  for (size_t i = 0; i < read.linears.size(); ++i) {
    changes.push_back(
        std::make_unique<MultipliedLayer>(read.linears[i], partition.multiplied(static_cast<int>(i)), multipliers));
  }
  ExportReport report{.tensors = static_cast<int64_t>(changes.size())};
  for (const std::string& name : checkpoint.FileNames()) {
    if (name == kConfig) continue;
    const std::string_view bytes = checkpoint.File(name);
    std::vector<const Change*> here;
    for (const auto& change : changes) {
      if (LiesIn(change->tensor().bytes, bytes)) here.push_back(change.get());
    }
    std::sort(here.begin(), here.end(),
              [](const Change* a, const Change* b) { return a->tensor().bytes.data() < b->tensor().bytes.data(); });
    QZO_RETURN_IF_ERROR(WriteWeights(fs, bytes, here, absl::StrCat(destination, "/", name), &report.rounding));
  }
  QZO_RETURN_IF_ERROR(CopyCompanions(fs, checkpoint.path(), destination));
  QZO_RETURN_IF_ERROR(fs->WriteDurably(absl::StrCat(destination, "/", kConfig), checkpoint.File(kConfig)));
  return report;
}

absl::Status ExportMultipliers(base::FileSystem* fs, const method::Partition& partition,
                               absl::Span<const float> multipliers,
                               const std::vector<std::pair<std::string, std::string>>& metadata,
                               const std::string& destination) {
  nlohmann::ordered_json header;
  for (const auto& [key, value] : metadata) header["__metadata__"][key] = value;
  for (const method::PartitionTensor& tensor : partition.tensors()) {
    std::vector<int64_t> shape = {tensor.shape.rows};
    if (tensor.shape.deltas || partition.granularity() == method::Granularity::kGroup) {
      shape.push_back(tensor.count / tensor.shape.rows);
    }
    const int64_t begin = tensor.offset * static_cast<int64_t>(sizeof(float));
    const int64_t end = begin + tensor.count * static_cast<int64_t>(sizeof(float));
    header[tensor.shape.name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // keeps the data aligned
  const uint64_t length = text.size();
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::PendingFile> out, fs->CreatePending(destination));
  QZO_RETURN_IF_ERROR(out->Append({reinterpret_cast<const char*>(&length), sizeof length}));
  QZO_RETURN_IF_ERROR(out->Append(text));
  QZO_RETURN_IF_ERROR(
      out->Append({reinterpret_cast<const char*>(multipliers.data()), multipliers.size() * sizeof(float)}));
  return out->Commit();
}

}  // namespace qzo::client
