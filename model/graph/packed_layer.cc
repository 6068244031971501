// The file: for each linear layer its codes, order and scales, each filled up to kAlignment; then the sizes of these in
// bytes, three u64 a linear layer, a u64 checksum (the sum of the XXH3 of each of them with its place, and of the
// sizes), and kMagic.
#include "model/graph/packed_layer.h"

#include <cstring>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status_macros.h"

namespace qzo::model {
namespace {

constexpr char kVersion[] = "2";
constexpr std::string_view kMagic = "QZOPACK1";
constexpr size_t kAlignment = 64;
constexpr size_t kSections = 3;

size_t Aligned(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

template <typename T>
std::string_view BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

uint64_t Checksum(uint32_t place, std::string_view bytes) { return base::Xxh3WithId(place, bytes); }

absl::Status Write(base::FileSystem* fs, const std::string& path, absl::Span<const CheckpointLinear* const> linears) {
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::PendingFile> out, fs->CreatePending(path));
  std::vector<uint64_t> sizes;
  uint64_t checksum = 0;
  for (const CheckpointLinear* linear : linears) {
    const PackedLinear packed = PackLinear(*linear);
    for (const std::string_view section : {BytesOf(packed.bytes), BytesOf(packed.order), BytesOf(packed.scales)}) {
      checksum += Checksum(static_cast<uint32_t>(sizes.size()), section);
      sizes.push_back(section.size());
      QZO_RETURN_IF_ERROR(out->Append(section));
      QZO_RETURN_IF_ERROR(out->Append(std::string(Aligned(section.size()) - section.size(), '\0')));
    }
  }
  checksum += Checksum(static_cast<uint32_t>(sizes.size()), BytesOf(sizes));
  QZO_RETURN_IF_ERROR(out->Append(BytesOf(sizes)));
  QZO_RETURN_IF_ERROR(out->Append({reinterpret_cast<const char*>(&checksum), sizeof checksum}));
  QZO_RETURN_IF_ERROR(out->Append(kMagic));
  return out->Commit();
}

// Sizes in bytes that the sections of `linear` can have; an order may turn out to be none.
bool Fits(const CheckpointLinear& linear, const uint64_t* sizes) {
  const auto order = static_cast<uint64_t>(linear.cols) * sizeof(int32_t);
  if (sizes[1] != 0 && (linear.indices == nullptr || sizes[1] != order)) return false;
  const uint64_t in_order = linear.indices == nullptr ? 0 : order;
  return sizes[0] + in_order + sizes[2] == static_cast<uint64_t>(RepackedBytes(linear)) &&
         (linear.codebook != nullptr ? sizes[0] : sizes[2]) == 0;
}

}  // namespace

PackedLayers::PackedLayers(base::FileSystem* fs, const std::string& directory, const std::string& digest,
                           std::function<void(uint64_t bytes)> before_write)
    : fs_(fs),
      directory_(absl::StrCat(directory, "/", digest, ".packed-", kVersion)),
      before_write_(std::move(before_write)) {}

std::string PackedLayers::PathOf(int layer) const { return absl::StrCat(directory_, "/", layer); }

absl::StatusOr<std::unique_ptr<PackedLayer>> PackedLayer::Open(const std::string& path,
                                                               absl::Span<const CheckpointLinear* const> linears) {
  const auto damaged = [&](const char* what) { return absl::DataLossError(absl::StrCat(path, ": ", what)); };
  std::unique_ptr<PackedLayer> layer(new PackedLayer);
  QZO_ASSIGN_OR_RETURN(layer->file_, base::MappedFile::Open(path));
  const std::string_view bytes = layer->file_->bytes();
  const size_t count = linears.size() * kSections, end = count * sizeof(uint64_t) + sizeof(uint64_t) + kMagic.size();
  if (bytes.size() < end || !bytes.ends_with(kMagic)) return damaged("not what a worker has written there");
  const std::string_view stored_sizes = bytes.substr(bytes.size() - end, count * sizeof(uint64_t));
  std::vector<uint64_t> sizes(count);
  std::memcpy(sizes.data(), stored_sizes.data(), stored_sizes.size());
  uint64_t expected = 0;
  std::memcpy(&expected, stored_sizes.data() + stored_sizes.size(), sizeof expected);

  size_t at = 0;
  uint64_t checksum = Checksum(static_cast<uint32_t>(count), stored_sizes);
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!Fits(*linears[i], &sizes[i * kSections])) return damaged("other sizes than the layer's");
    const char* sections[kSections] = {};
    for (size_t j = 0; j < kSections; ++j) {
      const size_t place = i * kSections + j, size = sizes[place];
      if (at + Aligned(size) > bytes.size() - end) return damaged("too short");
      checksum += Checksum(static_cast<uint32_t>(place), bytes.substr(at, size));
      if (size != 0) sections[j] = bytes.data() + at;
      at += Aligned(size);
    }
    layer->views_.push_back({.bytes = reinterpret_cast<const std::byte*>(sections[0]),
                             .order = reinterpret_cast<const int32_t*>(sections[1]),
                             .scales = reinterpret_cast<const float*>(sections[2])});
  }
  if (at != bytes.size() - end || checksum != expected) return damaged("the checksum is another");
  return layer;
}

absl::StatusOr<std::unique_ptr<PackedLayer>> PackedLayer::OpenOrWrite(
    const PackedLayers& files, int layer_index, absl::Span<const CheckpointLinear* const> linears) {
  const std::string path = files.PathOf(layer_index);
  if (files.fs()->Exists(path)) {
    absl::StatusOr<std::unique_ptr<PackedLayer>> layer = Open(path, linears);
    if (layer.ok() || !absl::IsDataLoss(layer.status())) return layer;
  }
  uint64_t bytes = 0;
  for (const CheckpointLinear* linear : linears) bytes += static_cast<uint64_t>(RepackedBytes(*linear));
  files.BeforeWrite(bytes);
  QZO_RETURN_IF_ERROR(Write(files.fs(), path, linears));
  return Open(path, linears);
}

}  // namespace qzo::model
