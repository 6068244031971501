#include "model/formats/gguf_patch.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::model {
namespace {

constexpr uint64_t kDefaultAlignment = 32;

// A tensor as it is written.
struct Placed {
  const GgufTensor* tensor = nullptr;
  const TensorReplacement* replacement = nullptr;  // nullptr: its bytes are copied
  GgmlType type = {};
  uint64_t offset = 0;  // in the data section
  uint64_t size = 0;
};

uint64_t Aligned(uint64_t offset, uint64_t alignment) { return (offset + alignment - 1) / alignment * alignment; }

template <typename T>
void Append(T value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

class Writer {
 public:
  Writer(const GgufFile& file, const std::map<std::string, TensorReplacement>& replacements,
         const std::map<std::string, GgmlType>& types)
      : file_(file), replacements_(replacements), types_(types) {}

  absl::Status Place() {
    if (!file_.complete() || !file_.other_parts().empty()) {
      return Error("a split model; put its parts together with gguf-split --merge first");
    }
    if (file_.HasKey("general.alignment")) {
      QZO_ASSIGN_OR_RETURN(alignment_, file_.GetUint("general.alignment"));
    }
    for (const auto& [name, replacement] : replacements_) {
      if (file_.FindTensor(name) != nullptr) continue;
      std::vector<std::string> names;
      for (const GgufTensor& other : file_.tensors()) names.push_back(other.name);
      return Error("no tensor '", name, "' to replace", base::DidYouMean(name, names));
    }
    for (const GgufTensor& tensor : file_.tensors()) {
      const auto replacement = replacements_.find(tensor.name);
      const auto type = types_.find(tensor.name);
      placed_.push_back({.tensor = &tensor, .type = tensor.type, .size = tensor.bytes.size()});
      if (replacement != replacements_.end()) placed_.back().replacement = &replacement->second;
      if (type != types_.end()) QZO_RETURN_IF_ERROR(SetType(type->second, &placed_.back()));
    }
    for (Placed& placed : placed_) in_file_order_.push_back(&placed);
    std::sort(in_file_order_.begin(), in_file_order_.end(),
              [](const Placed* a, const Placed* b) { return a->tensor->file_offset < b->tensor->file_offset; });
    uint64_t end = 0;
    for (Placed* placed : in_file_order_) {
      placed->offset = Aligned(end, alignment_);
      end = placed->offset + placed->size;
    }
    return absl::OkStatus();
  }

  absl::Status Write(base::PendingFile* out) const {
    std::string header(file_.bytes().substr(0, file_.tensor_infos_offset()));
    for (const Placed& placed : placed_) {
      const GgufTensor& tensor = *placed.tensor;
      Append(uint64_t{tensor.name.size()}, &header);
      header += tensor.name;
      Append(static_cast<uint32_t>(tensor.dims.size()), &header);
      for (const int64_t dim : tensor.dims) Append(dim, &header);
      Append(static_cast<uint32_t>(placed.type), &header);
      Append(placed.offset, &header);
    }
    header.resize(Aligned(header.size(), alignment_));
    QZO_RETURN_IF_ERROR(out->Append(header));
    uint64_t written = 0;
    for (const Placed* placed : in_file_order_) {
      QZO_RETURN_IF_ERROR(out->Append(std::string(placed->offset - written, '\0')));
      QZO_RETURN_IF_ERROR(WriteTensor(*placed, out));
      written = placed->offset + placed->size;
    }
    // Most writers also fill up the last tensor's block.
    const GgufTensor* last = in_file_order_.empty() ? nullptr : in_file_order_.back()->tensor;
    if (last == nullptr || last->file_offset + last->bytes.size() == file_.bytes().size()) return absl::OkStatus();
    return out->Append(std::string(Aligned(written, alignment_) - written, '\0'));
  }

 private:
  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": ", parts...));
  }

  absl::Status SetType(GgmlType type, Placed* placed) const {
    const GgmlTypeInfo& before = *FindGgmlType(static_cast<uint32_t>(placed->type));
    const GgmlTypeInfo& after = *FindGgmlType(static_cast<uint32_t>(type));
    if (placed->tensor->dims[0] % after.block_values != 0) {
      return Error("the rows of ", placed->tensor->dims[0], " values of tensor '", placed->tensor->name,
                   "' are no whole ", base::ToAbsl(after.name), " blocks of ", after.block_values);
    }
    const uint64_t values =
        placed->size / static_cast<uint64_t>(before.block_bytes) * static_cast<uint64_t>(before.block_values);
    placed->type = type;
    placed->size = values / static_cast<uint64_t>(after.block_values) * static_cast<uint64_t>(after.block_bytes);
    return absl::OkStatus();
  }

  absl::Status WriteTensor(const Placed& placed, base::PendingFile* out) const {
    if (placed.replacement == nullptr) return out->Append(placed.tensor->bytes);
    QZO_ASSIGN_OR_RETURN(const std::string bytes, (*placed.replacement)(*placed.tensor));
    if (bytes.size() == placed.size) return out->Append(bytes);
    return Error("the replacement of tensor '", placed.tensor->name, "' has ", bytes.size(), " bytes, expected ",
                 placed.size);
  }

  const GgufFile& file_;
  const std::map<std::string, TensorReplacement>& replacements_;
  const std::map<std::string, GgmlType>& types_;
  uint64_t alignment_ = kDefaultAlignment;
  std::vector<Placed> placed_;          // in the order of the file's own list
  std::vector<Placed*> in_file_order_;  // in that of their data
};

}  // namespace

absl::Status WriteGgufWithReplacedTensors(base::FileSystem* fs, const GgufFile& file,
                                          const std::map<std::string, TensorReplacement>& replacements,
                                          const std::map<std::string, GgmlType>& types,
                                          const std::string& destination) {
  Writer writer(file, replacements, types);
  QZO_RETURN_IF_ERROR(writer.Place());
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::PendingFile> out, fs->CreatePending(destination));
  QZO_RETURN_IF_ERROR(writer.Write(out.get()));
  return out->Commit();
}

}  // namespace qzo::model
