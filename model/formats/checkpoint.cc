#include "model/formats/checkpoint.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/page_release.h"
#include "base/sha256sums.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/formats/json_text.h"

namespace qzo::model {
namespace {

using base::ToAbsl;
using Json = nlohmann::json;

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kSingle[] = "model.safetensors";
// All that says what a model computes or how text becomes tokens; beside these, the files with its weights.
constexpr std::string_view kTextFiles[] = {"config.json",
                                           "generation_config.json",
                                           "quantize_config.json",
                                           "quant_config.json",
                                           "tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "chat_template.jinja",
                                           kIndex};

// Larger than any tokenizer, small enough to be read as JSON.
constexpr size_t kMaxTextBytes = size_t{64} << 20;

bool MayBelong(const std::string& name) {
  const bool text = std::find(std::begin(kTextFiles), std::end(kTextFiles), name) != std::end(kTextFiles);
  return text || absl::EndsWith(name, ".safetensors");
}

template <typename... Parts>
absl::Status Error(const std::string& path, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", parts...));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& directory) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = directory;
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string> names, base::RealFileSystem()->List(directory));
  const auto map = [&](const std::string& name) -> absl::Status {
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<base::MappedFile> file,
                         base::MappedFile::Open(absl::StrCat(directory, "/", name)));
    checkpoint->files_[name] = file->bytes();
    checkpoint->mappings_.push_back(std::move(file));
    return absl::OkStatus();
  };
  for (const std::string& name : names) {
    if (MayBelong(name)) QZO_RETURN_IF_ERROR(map(name));
  }
  QZO_RETURN_IF_ERROR(checkpoint->Read());
  return checkpoint;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::OpenFiles(
    std::map<std::string, std::unique_ptr<base::MappedFile>> files, std::string path_for_errors) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = std::move(path_for_errors);
  for (const auto& [name, file] : files) {
    if (MayBelong(name)) checkpoint->files_[name] = file->bytes();
  }
  QZO_RETURN_IF_ERROR(checkpoint->Read());
  for (auto& entry : files) {
    if (!checkpoint->files_.contains(entry.first)) {
      return Error(checkpoint->path_, "'", entry.first, "' is no part of the model");
    }
    checkpoint->mappings_.push_back(std::move(entry.second));
  }
  return checkpoint;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::FromFiles(std::map<std::string, std::string_view> files,
                                                                  std::string path_for_errors) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = std::move(path_for_errors);
  checkpoint->files_.insert(files.begin(), files.end());
  QZO_RETURN_IF_ERROR(checkpoint->Read());
  return checkpoint;
}

// The files that the index names, else model.safetensors, else the one file there is.
absl::StatusOr<std::vector<std::string>> Checkpoint::WeightFiles() const {
  if (const std::string_view text = File(kIndex); !text.empty()) {
    const Json index = ParseJson(text);
    const Json map = index.is_object() ? index.value("weight_map", Json()) : Json();
    if (!map.is_object()) return Error(path_, kIndex, ": 'weight_map' is missing or not an object");
    std::set<std::string> names;
    for (const auto& [tensor, file] : map.items()) {
      if (!file.is_string()) return Error(path_, kIndex, ": the file of tensor '", tensor, "' is not a string");
      names.insert(file.get<std::string>());
    }
    for (const std::string& name : names) {
      if (!files_.contains(name)) return Error(path_, "'", name, "', which ", kIndex, " names, is not there");
    }
    return std::vector<std::string>(names.begin(), names.end());
  }
  std::vector<std::string> names;
  for (const auto& [name, bytes] : files_) {
    if (absl::EndsWith(name, ".safetensors")) names.push_back(name);
  }
  if (files_.contains(kSingle)) return std::vector<std::string>{kSingle};
  if (names.size() == 1) return names;
  return Error(path_, "expected ", kSingle, " or ", kIndex, " (", names.size(), " .safetensors files are there)");
}

absl::Status Checkpoint::Read() {
  for (const std::string_view name : kTextFiles) {
    if (const size_t bytes = File(name).size(); bytes > kMaxTextBytes) {
      return Error(path_, ToAbsl(name), " has ", bytes, " bytes, expected at most ", kMaxTextBytes);
    }
  }
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string> weights, WeightFiles());
  std::erase_if(files_, [&](const auto& entry) {
    return absl::EndsWith(entry.first, ".safetensors") &&
           std::find(weights.begin(), weights.end(), entry.first) == weights.end();
  });
  for (const std::string& name : weights) {
    QZO_ASSIGN_OR_RETURN(std::vector<SafetensorsTensor> tensors,
                         ParseSafetensors(File(name), absl::StrCat(path_, "/", name)));
    for (SafetensorsTensor& tensor : tensors) {
      if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
        return Error(path_, "tensor '", tensor.name, "' of ", name, " is in another file, too");
      }
      tensors_.push_back(std::move(tensor));
    }
  }
  return absl::OkStatus();
}

std::string_view Checkpoint::File(std::string_view name) const {
  const auto at = files_.find(name);
  return at == files_.end() ? std::string_view() : at->second;
}

std::vector<std::string> Checkpoint::FileNames() const {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : files_) names.push_back(name);
  return names;
}

const SafetensorsTensor* Checkpoint::FindTensor(std::string_view name) const {
  const auto at = tensor_index_.find(ToAbsl(name));
  return at == tensor_index_.end() ? nullptr : &tensors_[at->second];
}

void Checkpoint::Release(const SafetensorsTensor& tensor) const {
  for (const auto& mapping : mappings_) {
    const std::string_view bytes = mapping->bytes();
    if (tensor.bytes.data() >= bytes.data() && tensor.bytes.data() < bytes.data() + bytes.size()) {
      base::ReleasePages(tensor.bytes);
    }
  }
}

int64_t Checkpoint::file_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, content] : files_) bytes += static_cast<int64_t>(content.size());
  return bytes;
}

std::string Checkpoint::Digest() const {
  std::vector<base::FileDigest> files;
  for (const auto& [name, content] : files_) {
    const auto mapping = std::find_if(mappings_.begin(), mappings_.end(), [&bytes = content](const auto& file) {
      return file->bytes().data() == bytes.data();
    });
    files.push_back(
        {.name = name, .digest = mapping == mappings_.end() ? base::Sha256Hex(content) : base::Sha256HexOf(**mapping)});
  }
  return base::Sha256Hex(base::WriteSha256Sums(files));
}

}  // namespace qzo::model
