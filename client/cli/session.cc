#include "client/cli/session.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/digest.h"
#include "base/sha256sums.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/formats/model_files.h"

namespace qzo::client {

absl::StatusOr<Client*> Session::client() {
  if (client_ == nullptr) {
    QZO_ASSIGN_OR_RETURN(const auto channel, env_.dial(flags_.endpoint));
    client_ = std::make_unique<Client>(channel, env_.client);
  }
  return client_.get();
}

std::string Session::Name(std::string_view collection, const std::string& name) const {
  if (absl::StrContains(name, '/')) return name;
  const std::string relative = absl::StrCat(base::ToAbsl(collection), "/", name);
  return collection == "workers" ? relative : absl::StrCat(parent(), "/", relative);
}

void Session::Note(std::string_view text) {
  if (!flags_.quiet) *env_.err << text << std::endl;
}

void Session::PrintMessage(const google::protobuf::Message& message) {
  out() << (flags_.output == OutputFormat::kYaml ? ToYaml(message) : ToJson(message, /*one_line=*/false));
}

TransferProgress Session::ShowTransfer(const std::string& what) {
  if (flags_.quiet || !env_.err_is_terminal) return nullptr;
  return [this, what](uint64_t done, uint64_t total) {
    const std::string of = total == 0 ? "" : absl::StrFormat(" of %s", base::HumanBytes(total));
    *env_.err << "\r\033[K" << what << ": " << base::HumanBytes(done) << of << (done == total ? "\n" : "")
              << std::flush;
  };
}

absl::StatusOr<std::string> Session::ReadInput(const std::string& path) {
  if (path != "-") return fs()->Read(path);
  return std::string(std::istreambuf_iterator<char>(*env_.in), {});
}

absl::StatusOr<v1::Model> Session::UploadModel(const std::string& path, const UploadOptions& options) {
  QZO_ASSIGN_OR_RETURN(Client* const client, this->client());
  QZO_ASSIGN_OR_RETURN(const std::vector<model::NamedPath> files, model::ListModelFiles(path));
  if (files.size() == 1) return client->UploadModel(parent(), files[0].path, options);
  std::vector<UploadFile> listed;
  listed.reserve(files.size());
  for (const model::NamedPath& file : files) listed.push_back({.name = file.name, .path = file.path});
  return client->UploadModel(parent(), listed, options);
}

std::string Session::CachedPath(const std::string& digest) {
  const std::string directory = absl::StrCat(flags_.cache_directory, "/", digest);
  std::string file = directory + ".gguf";
  if (fs()->Exists(file)) return file;
  const auto list = fs()->Read(absl::StrCat(directory, "/", base::kSha256SumsName));
  const auto files = list.ok() ? base::ParseSha256Sums(*list) : list.status();
  if (!files.ok()) return "";
  const bool complete = std::all_of(files->begin(), files->end(), [&](const base::FileDigest& listed) {
    return fs()->Exists(absl::StrCat(directory, "/", listed.name));
  });
  return complete ? directory : "";
}

absl::StatusOr<std::string> Session::CachedModel(const v1::Model& model) {
  if (!base::IsSha256Hex(model.digest())) {
    return absl::InternalError(absl::StrCat(model.name(), ": the server says digest '", model.digest(), "'"));
  }
  if (const std::string cached = CachedPath(model.digest()); !cached.empty()) return cached;
  const std::string path =
      absl::StrCat(flags_.cache_directory, "/", model.digest(), model.files().empty() ? ".gguf" : "");
  QZO_RETURN_IF_ERROR(fs()->CreateDirectories(flags_.cache_directory));
  QZO_ASSIGN_OR_RETURN(Client* const client, this->client());
  QZO_RETURN_IF_ERROR(client->DownloadModel(model, path, ShowTransfer("downloading " + ShortName(model.name()))));
  return path;
}

absl::StatusOr<std::string> Session::FindModel(const std::string& model, const std::string& digest) {
  if (!model.empty() && (fs()->Exists(model) || absl::EndsWith(model, ".gguf"))) return model;
  if (!model.empty()) {
    QZO_ASSIGN_OR_RETURN(Client* const client, this->client());
    QZO_ASSIGN_OR_RETURN(const v1::Model found, client->GetModel(Name("models", model)));
    return CachedModel(found);
  }
  if (const std::string cached = CachedPath(digest); !cached.empty()) return cached;
  QZO_ASSIGN_OR_RETURN(Client* const client, this->client());
  QZO_ASSIGN_OR_RETURN(const std::vector<v1::Model> models, client->ListModels(parent()));
  for (const v1::Model& candidate : models) {
    if (candidate.digest() == digest) return CachedModel(candidate);
  }
  return absl::NotFoundError(absl::StrCat("no model with digest ", digest, " in ", flags_.cache_directory, " or ",
                                          parent(), "; give --model PATH"));
}

absl::StatusOr<std::string> Session::DownloadAdapter(const std::string& name, std::optional<uint32_t> step) {
  QZO_ASSIGN_OR_RETURN(Client* const client, this->client());
  // Only a job has other steps than one.
  absl::StatusOr<std::string> bytes = absl::NotFoundError("");
  if (!step) bytes = client->DownloadAdapter(Name("adapters", name), step);
  if (absl::IsNotFound(bytes.status()) && !absl::StrContains(name, "/adapters/")) {
    bytes = client->DownloadAdapter(Name("jobs", name), step);
  }
  if (absl::IsNotFound(bytes.status())) {
    return absl::NotFoundError(absl::StrCat("'", name, "': no such file, nor an adapter or job of ", parent()));
  }
  return bytes;
}

absl::StatusOr<method::Adapter> Session::FindAdapter(const std::string& adapter, std::optional<uint32_t> step) {
  const bool local = fs()->Exists(adapter);
  QZO_ASSIGN_OR_RETURN(const std::string bytes, local ? fs()->Read(adapter) : DownloadAdapter(adapter, step));
  absl::StatusOr<method::Adapter> decoded = method::DecodeAdapter(bytes);
  if (!decoded.ok())
    return absl::Status(decoded.status().code(), absl::StrCat(adapter, ": ", decoded.status().message()));
  return decoded;
}

}  // namespace qzo::client
