#include "worker/blob_client.h"

#include <algorithm>
#include <string_view>

#include "proto/grpc_status.h"

namespace qzo::worker {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;  // common.proto's limit

}  // namespace

// A call that CancelAll can reach.
class BlobClient::Transfer {
 public:
  explicit Transfer(BlobClient* client) : client_(client) {
    base::MutexLock lock(&client_->mu_);
    client_->active_.insert(&context_);
  }
  ~Transfer() {
    base::MutexLock lock(&client_->mu_);
    client_->active_.erase(&context_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  grpc::ClientContext* context() { return &context_; }

 private:
  BlobClient* const client_;
  grpc::ClientContext context_;
};

absl::Status BlobClient::Fetch(const std::string& digest, const BlobSink& sink) {
  Transfer transfer(this);
  v1::FetchBlobRequest request;
  request.set_digest(digest);
  const auto reader = stub_->FetchBlob(transfer.context(), request);
  absl::Status status;
  for (v1::Chunk chunk; status.ok() && reader->Read(&chunk);) status = sink(chunk.data());
  if (!status.ok()) transfer.context()->TryCancel();
  const grpc::Status ended = reader->Finish();
  return status.ok() ? rpc::FromGrpc(ended) : status;
}

absl::Status BlobClient::Put(const v1::PutSnapshotRequest::Header& header, absl::Span<const float> multipliers) {
  Transfer transfer(this);
  v1::PutSnapshotResponse response;
  const auto writer = stub_->PutSnapshot(transfer.context(), &response);
  v1::PutSnapshotRequest request;
  *request.mutable_header() = header;
  std::string_view rest(reinterpret_cast<const char*>(multipliers.data()), multipliers.size() * sizeof(float));
  bool open = writer->Write(request);
  for (; open && !rest.empty(); rest.remove_prefix(std::min(rest.size(), kChunkBytes))) {
    request.set_data(std::string(rest.substr(0, kChunkBytes)));
    open = writer->Write(request);
  }
  writer->WritesDone();
  return rpc::FromGrpc(writer->Finish());
}

void BlobClient::CancelAll() {
  base::MutexLock lock(&mu_);
  for (grpc::ClientContext* context : active_) context->TryCancel();
}

}  // namespace qzo::worker
