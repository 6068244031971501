#include "server/download_reactor.h"

#include <algorithm>
#include <utility>

#include "proto/grpc_status.h"

namespace qzo::server {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;  // the API's limit

}  // namespace

DownloadReactor::DownloadReactor(Executor* executor, std::function<absl::StatusOr<Payload>()> source)
    : executor_(executor) {
  executor_->Run([this, source = std::move(source)] {
    absl::StatusOr<Payload> payload = source();
    if (!payload.ok()) return Finish(rpc::ToGrpc(payload.status()));
    payload_ = *std::move(payload);
    rest_ = payload_.bytes();
    SendNext();
  });
}

void DownloadReactor::OnWriteDone(bool ok) {
  if (!ok) return Finish(grpc::Status::CANCELLED);
  executor_->Run([this] { SendNext(); });
}

void DownloadReactor::SendNext() {
  if (rest_.empty()) return Finish(grpc::Status::OK);
  const std::string_view piece = rest_.substr(0, kChunkBytes);
  chunk_.set_data(piece.data(), piece.size());
  rest_.remove_prefix(piece.size());
  StartWrite(&chunk_);
}

}  // namespace qzo::server
