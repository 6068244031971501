#include "server/model_service.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
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

class ModelReceiver final : public UploadReceiver<v1::CreateModelRequest::Header, v1::Model> {
 public:
  explicit ModelReceiver(const Backend& backend)
      : backend_(backend), intake_(backend.keeper, backend.quota, kMaxModelBytes, [this](const std::string& digest) {
          return all_projects_ || HoldsModel(backend_.store, model_.project, digest);
        }) {}

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
    return intake_.Begin(model_.project, header.digest());
  }

  absl::Status Append(std::string_view data) override { return intake_.Append(data); }

  absl::StatusOr<v1::Model> Finish(const std::function<bool()>& aborted) override {
    if (earlier_) return *earlier_;
    QZO_ASSIGN_OR_RETURN(const std::string digest, intake_.Finish(aborted));
    return RegisterModel(backend_, model_, digest);
  }

 private:
  const Backend backend_;
  NewModel model_;
  bool all_projects_ = false;  // the caller may use the files of any
  std::optional<v1::Model> earlier_;
  FileIntake intake_;
};

}  // namespace

grpc::ServerReadReactor<v1::CreateModelRequest>* ModelService::CreateModel(grpc::CallbackServerContext* context,
                                                                           v1::Model* response) {
  return new UploadReactor<v1::CreateModelRequest, v1::Model>(backend_, context, response,
                                                              std::make_unique<ModelReceiver>(backend_));
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
    backend_.keeper->Discard(model.digest());
    return google::protobuf::Empty();
  });
}

grpc::ServerWriteReactor<v1::Chunk>* ModelService::DownloadModel(grpc::CallbackServerContext* context,
                                                                 const v1::DownloadModelRequest* request) {
  return new DownloadReactor(backend_, context, *request, [this, name = request->name()]() -> absl::StatusOr<Payload> {
    QZO_ASSIGN_OR_RETURN(const auto model, GetMessage<v1::Model>(backend_.store, kModelKind, "name", name));
    Payload payload;
    QZO_ASSIGN_OR_RETURN(payload.file, backend_.blobs->Open(model.digest()));
    return payload;
  });
}

}  // namespace qzo::server
