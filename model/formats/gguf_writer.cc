#include "model/formats/gguf_writer.h"

#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace qzo::model {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint32_t kUint32 = 4, kInt32 = 5, kFloat = 6, kBool = 7, kString = 8, kArray = 9;

template <typename T>
void Put(T value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

void PutString(std::string_view text, std::string* out) {
  Put(uint64_t{text.size()}, out);
  out->append(text);
}

uint64_t Aligned(uint64_t offset, uint64_t alignment) { return (offset + alignment - 1) / alignment * alignment; }

}  // namespace

void GgufValues::Key(std::string_view key, uint32_t type) {
  PutString(key, &bytes_);
  Put(type, &bytes_);
  ++count_;
}

void GgufValues::ArrayKey(std::string_view key, uint32_t type, uint64_t count) {
  Key(key, kArray);
  Put(type, &bytes_);
  Put(count, &bytes_);
}

GgufValues& GgufValues::Uint32(std::string_view key, uint32_t value) {
  Key(key, kUint32);
  Put(value, &bytes_);
  return *this;
}

GgufValues& GgufValues::Float(std::string_view key, float value) {
  Key(key, kFloat);
  Put(value, &bytes_);
  return *this;
}

GgufValues& GgufValues::Bool(std::string_view key, bool value) {
  Key(key, kBool);
  bytes_ += value ? '\1' : '\0';
  return *this;
}

GgufValues& GgufValues::String(std::string_view key, std::string_view value) {
  Key(key, kString);
  PutString(value, &bytes_);
  return *this;
}

GgufValues& GgufValues::Strings(std::string_view key, const std::vector<std::string>& values) {
  ArrayKey(key, kString, values.size());
  for (const std::string& value : values) PutString(value, &bytes_);
  return *this;
}

GgufValues& GgufValues::Floats(std::string_view key, const std::vector<float>& values) {
  ArrayKey(key, kFloat, values.size());
  for (const float value : values) Put(value, &bytes_);
  return *this;
}

GgufValues& GgufValues::Int32s(std::string_view key, const std::vector<int32_t>& values) {
  ArrayKey(key, kInt32, values.size());
  for (const int32_t value : values) Put(value, &bytes_);
  return *this;
}

GgufValues& GgufValues::Append(const GgufValues& other) {
  count_ += other.count_;
  bytes_ += other.bytes_;
  return *this;
}

std::string GgufValues::Header(uint64_t tensors) const {
  std::string header = "GGUF";
  Put(kVersion, &header);
  Put(tensors, &header);
  Put(count_, &header);
  return header + bytes_;
}

uint64_t GgmlBytes(GgmlType type, uint64_t values) {
  const GgmlTypeInfo& info = *FindGgmlType(static_cast<uint32_t>(type));
  return values / static_cast<uint64_t>(info.block_values) * static_cast<uint64_t>(info.block_bytes);
}

absl::Status WriteGguf(std::string header, absl::Span<const TensorToWrite> tensors, const GgufLayout& layout,
                       const GgufSink& out) {
  std::vector<size_t> order = layout.order;
  if (order.empty()) {
    order.resize(tensors.size());
    std::iota(order.begin(), order.end(), size_t{0});
  }
  QZO_CHECK(order.size() == tensors.size());
  std::vector<uint64_t> offsets(tensors.size());  // in the data section
  uint64_t end = 0;
  for (const size_t i : order) {
    offsets[i] = Aligned(end, layout.alignment);
    end = offsets[i] + tensors[i].size;
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    PutString(tensors[i].name, &header);
    Put(static_cast<uint32_t>(tensors[i].dims.size()), &header);
    for (const int64_t dim : tensors[i].dims) Put(dim, &header);
    Put(static_cast<uint32_t>(tensors[i].type), &header);
    Put(offsets[i], &header);
  }
  header.resize(Aligned(header.size(), layout.alignment));
  QZO_RETURN_IF_ERROR(out(header));
  uint64_t written = 0;
  for (const size_t i : order) {
    QZO_RETURN_IF_ERROR(out(std::string(offsets[i] - written, '\0')));
    uint64_t size = 0;
    QZO_RETURN_IF_ERROR(tensors[i].write([&](std::string_view bytes) {
      size += bytes.size();
      return out(bytes);
    }));
    if (size != tensors[i].size) {
      return absl::InternalError(
          absl::StrCat("tensor '", tensors[i].name, "' has ", size, " bytes, expected ", tensors[i].size));
    }
    written = offsets[i] + size;
  }
  if (!layout.fill_end) return absl::OkStatus();
  return out(std::string(Aligned(written, layout.alignment) - written, '\0'));
}

absl::Status WriteGgufFile(base::FileSystem* fs, std::string header, absl::Span<const TensorToWrite> tensors,
                           const GgufLayout& layout, const std::string& destination) {
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::PendingFile> out, fs->CreatePending(destination));
  QZO_RETURN_IF_ERROR(
      WriteGguf(std::move(header), tensors, layout, [&](std::string_view bytes) { return out->Append(bytes); }));
  return out->Commit();
}

}  // namespace qzo::model
