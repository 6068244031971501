#include "model/formats/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/formats/json_text.h"

namespace qzo::model {
namespace {

using base::ToAbsl;
using Json = nlohmann::json;

struct TypeInfo {
  std::string_view name;
  int64_t bytes;
};
// In the order of SafetensorsType.
constexpr std::array<TypeInfo, 15> kTypes = {{{"BOOL", 1},
                                              {"U8", 1},
                                              {"I8", 1},
                                              {"F8_E4M3", 1},
                                              {"F8_E5M2", 1},
                                              {"U16", 2},
                                              {"I16", 2},
                                              {"F16", 2},
                                              {"BF16", 2},
                                              {"U32", 4},
                                              {"I32", 4},
                                              {"F32", 4},
                                              {"U64", 8},
                                              {"I64", 8},
                                              {"F64", 8}}};

constexpr uint64_t kMaxHeaderBytes = 16 << 20;  // some 10⁵ tensors; as JSON values a header takes many times its bytes
constexpr size_t kMaxDims = 8;

class Parser {
 public:
  Parser(std::string_view bytes, std::string_view path) : bytes_(bytes), path_(path) {}

  absl::StatusOr<std::vector<SafetensorsTensor>> Run() {
    QZO_ASSIGN_OR_RETURN(const Json header, ReadHeader());
    std::vector<SafetensorsTensor> tensors;
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      QZO_ASSIGN_OR_RETURN(SafetensorsTensor tensor, ReadTensor(name, entry));
      tensors.push_back(std::move(tensor));
    }
    QZO_RETURN_IF_ERROR(CheckCover(tensors));
    return tensors;
  }

 private:
  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(ToAbsl(path_), ": ", parts...));
  }

  absl::StatusOr<Json> ReadHeader() {
    uint64_t size = 0;
    if (bytes_.size() < sizeof size) return Error("not a safetensors file: it has ", bytes_.size(), " bytes");
    std::memcpy(&size, bytes_.data(), sizeof size);
    const uint64_t left = bytes_.size() - sizeof size;
    if (size > left) return Error("the header says ", size, " bytes, but only ", left, " are left in the file");
    if (size > kMaxHeaderBytes) return Error("a header of ", size, " bytes, expected at most ", kMaxHeaderBytes);
    Json header = ParseJson(bytes_.substr(sizeof size, size));
    if (!header.is_object()) return Error("the header is not a JSON object");
    data_ = bytes_.substr(sizeof size + size);
    return header;
  }

  absl::StatusOr<SafetensorsTensor> ReadTensor(const std::string& name, const Json& entry) {
    const std::string what = absl::StrCat("tensor '", name, "'");
    const auto field = [&entry](const char* key) { return entry.is_object() ? entry.value(key, Json()) : Json(); };
    SafetensorsTensor tensor{.name = name, .type = {}, .dims = {}, .bytes = {}};
    const Json type = field("dtype"), shape = field("shape"), offsets = field("data_offsets");
    const auto at = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeInfo& t) {
      return type.is_string() && type.get_ref<const std::string&>() == t.name;
    });
    if (at == kTypes.end()) return Error(what, " has the dtype ", type.dump().substr(0, 40), ", which is not known");
    tensor.type = static_cast<SafetensorsType>(at - kTypes.begin());
    if (!shape.is_array() || shape.size() > kMaxDims) {
      return Error(what, ": shape is missing or no list of at most ", kMaxDims, " numbers");
    }
    int64_t size = at->bytes;
    for (const Json& dim : shape) {
      const bool number = dim.is_number_unsigned() && dim.get<uint64_t>() <= uint64_t{1} << 62;
      if (!number || __builtin_mul_overflow(size, dim.get<int64_t>(), &size)) {
        return Error(what, " has the shape ", shape.dump().substr(0, 200), ", expected a product within 63 bits");
      }
      tensor.dims.push_back(dim.get<int64_t>());
    }
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      return Error(what, ": data_offsets is missing or not two offsets");
    }
    const uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_.size()) {
      return Error(what, ": bytes ", begin, " to ", end, " are not inside the ", data_.size(), " bytes of tensor data");
    }
    if (end - begin != static_cast<uint64_t>(size)) {
      return Error(what, " has ", end - begin, " bytes, expected ", size, " for ", ToAbsl(at->name), " [",
                   absl::StrJoin(tensor.dims, ", "), "]");
    }
    tensor.bytes = data_.substr(begin, end - begin);
    return tensor;
  }

  absl::Status CheckCover(const std::vector<SafetensorsTensor>& tensors) const {
    std::vector<const SafetensorsTensor*> sorted;
    sorted.reserve(tensors.size());
    for (const SafetensorsTensor& tensor : tensors) sorted.push_back(&tensor);
    std::sort(sorted.begin(), sorted.end(), [](const SafetensorsTensor* a, const SafetensorsTensor* b) {
      return std::pair(a->bytes.data(), a->bytes.size()) < std::pair(b->bytes.data(), b->bytes.size());
    });
    const char* end = data_.data();
    for (const SafetensorsTensor* tensor : sorted) {
      if (tensor->bytes.data() != end) {
        return Error("tensor '", tensor->name, "' begins at byte ", tensor->bytes.data() - data_.data(),
                     " of the data, expected ", end - data_.data(), ", where the one before it ends");
      }
      end += tensor->bytes.size();
    }
    const auto left = data_.data() + data_.size() - end;
    if (left != 0) return Error(left, " bytes of data belong to no tensor");
    return absl::OkStatus();
  }

  const std::string_view bytes_;
  const std::string_view path_;
  std::string_view data_;
};

}  // namespace

std::string_view SafetensorsTypeName(SafetensorsType type) { return kTypes[static_cast<size_t>(type)].name; }
int64_t SafetensorsTypeBytes(SafetensorsType type) { return kTypes[static_cast<size_t>(type)].bytes; }

absl::StatusOr<std::vector<SafetensorsTensor>> ParseSafetensors(std::string_view bytes, std::string_view path) {
  return Parser(bytes, path).Run();
}

}  // namespace qzo::model
