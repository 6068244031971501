#include "server/coordination_service.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/grpc_status.h"
#include "server/download_reactor.h"
#include "server/errors.h"
#include "server/upload_reactor.h"
#include "server/work_reactor.h"

namespace qzo::server {
namespace {

constexpr uint64_t kMaxSnapshotBytes = uint64_t{64} << 30;

class SnapshotReceiver final : public UploadReceiver<v1::PutSnapshotRequest::Header, v1::PutSnapshotResponse> {
 public:
  explicit SnapshotReceiver(const Backend& backend) : backend_(backend) {}

  absl::StatusOr<bool> Begin(const v1::PutSnapshotRequest::Header& header, const Identity&) override {
    header_ = header;
    QZO_ASSIGN_OR_RETURN(writer_, backend_.blobs->NewWriter(kMaxSnapshotBytes));
    return false;
  }

  absl::Status Append(std::string_view data) override { return writer_->Append(data); }

  absl::StatusOr<v1::PutSnapshotResponse> Finish(const std::function<bool()>& aborted) override {
    if (aborted()) return absl::CancelledError("the upload was broken off");
    const BlobKeeper::Hold hold(backend_.keeper);
    v1::PutSnapshotResponse response;
    QZO_ASSIGN_OR_RETURN(*response.mutable_blob(), writer_->Finish(""));
    if (const absl::Status stored = backend_.coordinator->SnapshotStored(header_, response.blob()); !stored.ok()) {
      backend_.keeper->Discard(response.blob());
      return stored;
    }
    return response;
  }

 private:
  const Backend backend_;
  v1::PutSnapshotRequest::Header header_;
  std::unique_ptr<BlobWriter> writer_;
};

// A stream that was not admitted. Deletes itself.
class RefusedWork final : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage> {
 public:
  explicit RefusedWork(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* CoordinationService::Work(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<std::shared_ptr<Admission>> admission =
      backend_.access->Admit(context, v1::WorkerMessage::descriptor(), nullptr);
  if (!admission.ok()) return new RefusedWork(admission.status());
  return new WorkReactor(backend_, context, *std::move(admission));
}

grpc::ServerWriteReactor<v1::Chunk>* CoordinationService::FetchBlob(grpc::CallbackServerContext* context,
                                                                    const v1::FetchBlobRequest* request) {
  return new DownloadReactor(backend_, context, *request,
                             [this, digest = request->digest()]() -> absl::StatusOr<Payload> {
                               absl::StatusOr<std::unique_ptr<base::MappedFile>> file = backend_.blobs->Open(digest);
                               if (absl::IsNotFound(file.status())) return NoSuch("blob", digest);
                               QZO_RETURN_IF_ERROR(file.status());
                               Payload payload;
                               payload.file = *std::move(file);
                               return payload;
                             });
}

grpc::ServerReadReactor<v1::PutSnapshotRequest>* CoordinationService::PutSnapshot(grpc::CallbackServerContext* context,
                                                                                  v1::PutSnapshotResponse* response) {
  return new UploadReactor<v1::PutSnapshotRequest, v1::PutSnapshotResponse>(
      backend_, context, response, std::make_unique<SnapshotReceiver>(backend_));
}

}  // namespace qzo::server
