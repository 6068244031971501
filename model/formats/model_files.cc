#include "model/formats/model_files.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace qzo::model {
namespace {

bool IsDirectory(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

bool IsGguf(const std::string& name) { return absl::EndsWith(name, ".gguf"); }
bool IsFirstPart(const std::string& name) { return IsGguf(name) && absl::StrContains(name, "-00001-of-"); }

std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Of a directory without config.json: the first part of the one split model in it, or its only GGUF file; "" = neither.
absl::StatusOr<std::string> GgufIn(const std::string& directory) {
  QZO_ASSIGN_OR_RETURN(std::vector<std::string> names, base::RealFileSystem()->List(directory));
  if (std::find(names.begin(), names.end(), "config.json") != names.end()) return "";
  std::erase_if(names, [](const std::string& name) { return !IsGguf(name); });
  if (names.size() == 1) return names[0];
  std::erase_if(names, [](const std::string& name) { return !IsFirstPart(name); });
  return names.size() == 1 ? names[0] : "";
}

}  // namespace

absl::StatusOr<ModelFiles> OpenModelFiles(const std::string& path) {
  ModelFiles files;
  if (!IsDirectory(path)) {
    QZO_ASSIGN_OR_RETURN(files.gguf, GgufFile::Open(path));
    return files;
  }
  QZO_ASSIGN_OR_RETURN(const std::string gguf, GgufIn(path));
  if (!gguf.empty()) {
    QZO_ASSIGN_OR_RETURN(files.gguf, GgufFile::Open(absl::StrCat(path, "/", gguf)));
  } else {
    QZO_ASSIGN_OR_RETURN(files.checkpoint, Checkpoint::Open(path));
  }
  return files;
}

absl::StatusOr<ModelFiles> OpenListedFiles(std::map<std::string, std::unique_ptr<base::MappedFile>> files,
                                           std::string path_for_errors) {
  ModelFiles opened;
  const bool parts = std::all_of(files.begin(), files.end(), [](const auto& entry) { return IsGguf(entry.first); });
  if (parts) {
    QZO_ASSIGN_OR_RETURN(opened.gguf, GgufFile::OpenParts(std::move(files)));
  } else {
    QZO_ASSIGN_OR_RETURN(opened.checkpoint, Checkpoint::OpenFiles(std::move(files), std::move(path_for_errors)));
  }
  return opened;
}

absl::StatusOr<std::vector<NamedPath>> ListModelFiles(const std::string& path) {
  const bool directory = IsDirectory(path);
  if (!directory && !IsFirstPart(NameOf(path))) return std::vector<NamedPath>{{NameOf(path), path}};
  QZO_ASSIGN_OR_RETURN(const ModelFiles files, OpenModelFiles(path));
  std::vector<NamedPath> listed;
  if (files.gguf != nullptr) {
    listed.push_back({NameOf(files.gguf->path()), files.gguf->path()});
    for (const auto& part : files.gguf->other_parts()) listed.push_back({NameOf(part->path()), part->path()});
  } else {
    for (const std::string& name : files.checkpoint->FileNames()) {
      listed.push_back({name, absl::StrCat(path, "/", name)});
    }
  }
  return listed;
}

}  // namespace qzo::model
