#include "server/model_service.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/sha256sums.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "proto/grpc_status.h"
#include "server/download_reactor.h"
#include "server/errors.h"
#include "server/file_intake.h"
#include "server/models.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/unary.h"
#include "server/upload_reactor.h"

namespace qzo::server {
namespace {

constexpr uint64_t kMaxModelBytes = uint64_t{200} << 30;

absl::StatusOr<std::vector<base::FileDigest>> ReadFileList(const std::string& text) {
  absl::StatusOr<std::vector<base::FileDigest>> files = base::ParseSha256Sums(text);
  if (files.ok()) return files;
  return InvalidField("file_list", base::ToStd(files.status().message()));
}

// One file, or those of a list: each has an intake of its own, so that nothing of them is left when one fails.
class ModelReceiver final : public UploadReceiver<v1::CreateModelRequest::Header, v1::Model> {
 public:
  explicit ModelReceiver(const Backend& backend)
      : backend_(backend), list_intake_(backend.keeper, backend.quota, base::kMaxSha256SumsBytes, nullptr) {}

  absl::StatusOr<bool> Begin(const v1::CreateModelRequest::Header& header, const Identity& caller) override {
    all_projects_ = caller.project == kEveryProject;
    QZO_ASSIGN_OR_RETURN(model_.project, ParseParent(header.parent()));
    if (!header.model_id().empty()) QZO_RETURN_IF_ERROR(CheckId("model_id", header.model_id()));
    QZO_RETURN_IF_ERROR(CheckRequestId(header.request_id()));
    model_.id = header.model_id();
    model_.display_name = header.display_name();
    model_.request_id = header.request_id();
    const absl::StatusOr<StoredResource> earlier =
        ResourceOfRequest(backend_.store, kModelKind, model_.project, model_.request_id);
    if (earlier.ok()) {
      QZO_ASSIGN_OR_RETURN(earlier_, ParseBody<v1::Model>(*earlier));
      return true;
    }
    if (!all_projects_) {
      QZO_ASSIGN_OR_RETURN(known_, ModelDigests(backend_.store, model_.project));
    }
    list_ = header.file_list();
    if (list_.empty()) return AddFile("", header.digest());
    QZO_ASSIGN_OR_RETURN(const std::vector<base::FileDigest> files, ReadFileList(list_));
    if (!header.digest().empty() && header.digest() != base::Sha256Hex(list_)) {
      return InvalidField("digest", "expected the SHA-256 of file_list");
    }
    bool complete = true;
    for (const base::FileDigest& file : files) {
      QZO_ASSIGN_OR_RETURN(const bool held, AddFile(file.name, file.digest));
      complete &= held;
    }
    return complete;
  }

  absl::Status BeginFile(const std::string& name) override {
    if (list_.empty()) return UploadReceiver::BeginFile(name);
    QZO_RETURN_IF_ERROR(EndFile());
    const auto found = std::find_if(files_.begin(), files_.end(), [&](const File& file) { return file.name == name; });
    if (found == files_.end() || std::exchange(found->sent, true)) {
      return InvalidField("file",
                          absl::StrCat("'", name.substr(0, 80), "' was sent, expected a name of file_list, once"));
    }
    current_ = found->intake.get();
    return current_->Append("");  // there are empty files
  }

  absl::Status Append(std::string_view data) override {
    if (current_ == nullptr) return InvalidField("file", "missing, expected it before data");
    bytes_ += data.size();
    if (bytes_ > kMaxModelBytes) {
      return rpc::WithReason(
          absl::ResourceExhaustedError(absl::StrCat("the model is larger than ", base::HumanBytes(kMaxModelBytes))),
          "FILE_TOO_LARGE");
    }
    return current_->Append(data);
  }

  absl::StatusOr<v1::Model> Finish(const std::function<bool()>& aborted) override {
    if (earlier_) return *earlier_;
    std::string digest;
    if (list_.empty()) {
      QZO_ASSIGN_OR_RETURN(digest, files_[0].intake->Finish(aborted));
    } else {
      if (aborted()) return absl::CancelledError("the upload was broken off");
      QZO_RETURN_IF_ERROR(EndFile());
      for (const File& file : files_) {
        if (!file.sent) QZO_RETURN_IF_ERROR(file.intake->Finish(aborted).status());
      }
      QZO_RETURN_IF_ERROR(list_intake_.Begin(model_.project, "").status());
      QZO_RETURN_IF_ERROR(list_intake_.Append(list_));
      QZO_ASSIGN_OR_RETURN(digest, list_intake_.Finish(aborted));
    }
    return RegisterModel(backend_, model_, digest);
  }

 private:
  struct File {
    std::string name;
    std::unique_ptr<FileIntake> intake;
    bool sent = false;
  };

  absl::StatusOr<bool> AddFile(const std::string& name, const std::string& digest) {
    files_.push_back({.name = name,
                      .intake = std::make_unique<FileIntake>(
                          backend_.keeper, backend_.quota, kMaxModelBytes,
                          [this](const std::string& known) { return all_projects_ || known_.contains(known); })});
    if (list_.empty()) current_ = files_.back().intake.get();
    return files_.back().intake->Begin(model_.project, digest);
  }

  absl::Status EndFile() {
    FileIntake* const ended = std::exchange(current_, nullptr);
    return ended == nullptr ? absl::OkStatus() : ended->Finish([] { return false; }).status();
  }

  const Backend backend_;
  NewModel model_;
  bool all_projects_ = false;               // the caller may use the files of any
  absl::flat_hash_set<std::string> known_;  // else: digests of the project's files
  std::optional<v1::Model> earlier_;
  std::string list_;         // "" for one file
  std::vector<File> files_;  // in the list's order, or the one without a name
  FileIntake list_intake_;
  FileIntake* current_ = nullptr;  // where data go
  uint64_t bytes_ = 0;
};

}  // namespace

grpc::ServerReadReactor<v1::CreateModelRequest>* ModelService::CreateModel(grpc::CallbackServerContext* context,
                                                                           v1::Model* response) {
  return new UploadReactor<v1::CreateModelRequest, v1::Model>(backend_, context, response,
                                                              std::make_unique<ModelReceiver>(backend_));
}

grpc::ServerUnaryReactor* ModelService::FindMissingFiles(grpc::CallbackServerContext* context,
                                                         const v1::FindMissingFilesRequest* request,
                                                         v1::FindMissingFilesResponse* response) {
  return AnswerOn(
      backend_, context, request, response, [this, request]() -> absl::StatusOr<v1::FindMissingFilesResponse> {
        QZO_ASSIGN_OR_RETURN(const std::string project, ParseParent(request->parent()));
        QZO_ASSIGN_OR_RETURN(const std::vector<base::FileDigest> files, ReadFileList(request->file_list()));
        QZO_ASSIGN_OR_RETURN(const absl::flat_hash_set<std::string> known, ModelDigests(backend_.store, project));
        v1::FindMissingFilesResponse answer;
        for (const base::FileDigest& file : files) {
          if (!known.contains(file.digest)) answer.add_files(file.name);
        }
        return answer;
      });
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* context,
                                                 const v1::GetModelRequest* request, v1::Model* response) {
  return AnswerOn(backend_, context, request, response, [this, request] {
    return GetMessage<v1::Model>(backend_.store, kModelKind, "name", request->name());
  });
}

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<v1::ListModelsResponse> {
    QZO_ASSIGN_OR_RETURN(const ResourcePage page, ListResources(backend_.store, kModelKind, request->parent(),
                                                                request->page_size(), request->page_token()));
    v1::ListModelsResponse answer;
    for (const StoredResource& resource : page.resources) {
      QZO_ASSIGN_OR_RETURN(*answer.add_models(), ParseBody<v1::Model>(resource));
    }
    answer.set_next_page_token(page.next_page_token);
    return answer;
  });
}

grpc::ServerUnaryReactor* ModelService::DeleteModel(grpc::CallbackServerContext* context,
                                                    const v1::DeleteModelRequest* request,
                                                    google::protobuf::Empty* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<google::protobuf::Empty> {
    QZO_ASSIGN_OR_RETURN(const StoredResource resource,
                         FindResource(backend_.store, kModelKind, "name", request->name()));
    QZO_ASSIGN_OR_RETURN(const auto model, ParseBody<v1::Model>(resource));
    if (backend_.coordinator->InUse(request->name())) return InUse(kModelKind, request->name());
    QZO_RETURN_IF_ERROR(backend_.store->Write({DeleteResource{resource.uid}}));
    for (const std::string& digest : BlobsOf(model)) backend_.keeper->Discard(digest);
    return google::protobuf::Empty();
  });
}

grpc::ServerWriteReactor<v1::Chunk>* ModelService::DownloadModel(grpc::CallbackServerContext* context,
                                                                 const v1::DownloadModelRequest* request) {
  return new DownloadReactor(backend_, context, *request, [this, request = *request]() -> absl::StatusOr<Payload> {
    QZO_ASSIGN_OR_RETURN(const auto model, GetMessage<v1::Model>(backend_.store, kModelKind, "name", request.name()));
    std::string digest = request.file().empty() ? model.digest() : "";
    for (const v1::Model::File& file : model.files()) {
      if (file.name() == request.file()) digest = file.digest();
    }
    if (digest.empty()) {
      return InvalidField("file", absl::StrCat("'", request.file().substr(0, 80), "' is no file of ", request.name()));
    }
    Payload payload;
    QZO_ASSIGN_OR_RETURN(payload.file, backend_.blobs->Open(digest));
    return payload;
  });
}

}  // namespace qzo::server
