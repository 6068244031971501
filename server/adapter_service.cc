#include "server/adapter_service.h"

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/grpc_status.h"
#include "qzo/v1/stored.pb.h"
#include "server/adapter_files.h"
#include "server/errors.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/unary.h"

namespace qzo::server {

grpc::ServerUnaryReactor* AdapterService::GetAdapter(grpc::CallbackServerContext* context,
                                                     const v1::GetAdapterRequest* request, v1::Adapter* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<v1::Adapter> {
    QZO_ASSIGN_OR_RETURN(const auto stored,
                         GetMessage<v1::StoredAdapter>(backend_.store, kAdapterKind, "name", request->name()));
    return stored.adapter();
  });
}

grpc::ServerUnaryReactor* AdapterService::ListAdapters(grpc::CallbackServerContext* context,
                                                       const v1::ListAdaptersRequest* request,
                                                       v1::ListAdaptersResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<v1::ListAdaptersResponse> {
    QZO_ASSIGN_OR_RETURN(const ResourcePage page, ListResources(backend_.store, kAdapterKind, request->parent(),
                                                                request->page_size(), request->page_token()));
    v1::ListAdaptersResponse answer;
    for (const StoredResource& resource : page.resources) {
      QZO_ASSIGN_OR_RETURN(const auto stored, ParseBody<v1::StoredAdapter>(resource));
      *answer.add_adapters() = stored.adapter();
    }
    answer.set_next_page_token(page.next_page_token);
    return answer;
  });
}

grpc::ServerUnaryReactor* AdapterService::DeleteAdapter(grpc::CallbackServerContext* context,
                                                        const v1::DeleteAdapterRequest* request,
                                                        google::protobuf::Empty* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<google::protobuf::Empty> {
    QZO_ASSIGN_OR_RETURN(const StoredResource resource,
                         FindResource(backend_.store, kAdapterKind, "name", request->name()));
    QZO_ASSIGN_OR_RETURN(const auto stored, ParseBody<v1::StoredAdapter>(resource));
    QZO_RETURN_IF_ERROR(backend_.store->Write({DeleteResource{resource.uid}}));
    backend_.keeper->Discard(stored.blob());
    return google::protobuf::Empty();
  });
}

grpc::ServerWriteReactor<v1::Chunk>* AdapterService::DownloadAdapter(grpc::CallbackServerContext* context,
                                                                     const v1::DownloadAdapterRequest* request) {
  return new DownloadReactor(backend_, context, *request, [this, request = *request] {
    return absl::StrContains(request.name(), "/jobs/") ? OfJob(request) : OfAdapter(request);
  });
}

absl::StatusOr<Payload> AdapterService::OfAdapter(const v1::DownloadAdapterRequest& request) {
  if (request.has_step()) return InvalidField("step", "given with an adapter, expected it with a job only");
  QZO_ASSIGN_OR_RETURN(const auto stored,
                       GetMessage<v1::StoredAdapter>(backend_.store, kAdapterKind, "name", request.name()));
  Payload payload;
  QZO_ASSIGN_OR_RETURN(payload.file, backend_.blobs->Open(stored.blob()));
  return payload;
}

absl::StatusOr<Payload> AdapterService::OfJob(const v1::DownloadAdapterRequest& request) {
  QZO_ASSIGN_OR_RETURN(const StoredResource resource, FindResource(backend_.store, kJobKind, "name", request.name()));
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob job, backend_.coordinator->Get(request.name()));
  const v1::Progress& progress = job.progress();
  uint32_t step = progress.has_best_validation() ? progress.best_validation().step() : resource.next_step;
  if (request.has_step()) step = request.step();
  if (step > resource.next_step) {
    return rpc::WithReason(absl::OutOfRangeError(absl::StrCat("step ", step, ": the journal of ", request.name(),
                                                              " holds ", resource.next_step, " steps")),
                           "STEP_NOT_COMMITTED");
  }
  const absl::StatusOr<std::shared_ptr<const LoadedModel>> base = backend_.models->Load(job.spec().base_model_digest());
  if (absl::IsNotFound(base.status())) {
    return rpc::WithReason(absl::FailedPreconditionError(absl::StrCat("the base model of ", request.name(), ", ",
                                                                      job.spec().base_model(), ", was deleted")),
                           "INPUT_DELETED");
  }
  QZO_RETURN_IF_ERROR(base.status());
  QZO_ASSIGN_OR_RETURN(const method::JournalChunk journal, backend_.store->ReadJournal(resource.uid, 0, step));
  Payload payload;
  QZO_ASSIGN_OR_RETURN(payload.text, BuildAdapterFile(job, (*base)->info, journal, /*replica_digest=*/0));
  return payload;
}

}  // namespace qzo::server
