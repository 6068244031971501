#include "server/download_reactor.h"

#include <algorithm>
#include <utility>

#include "proto/grpc_status.h"

namespace qzo::server {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;  // the API's limit

}  // namespace

DownloadReactor::DownloadReactor(const Backend& backend, grpc::CallbackServerContext* context,
                                 const google::protobuf::Message& request,
                                 std::function<absl::StatusOr<Payload>()> source)
    : executor_(backend.calls) {
  absl::StatusOr<std::shared_ptr<Admission>> admission =
      backend.access->Admit(context, request.GetDescriptor(), &request);
  if (!admission.ok()) {
    Finish(rpc::ToGrpc(admission.status()));
    return;
  }
  admission_ = *std::move(admission);
  guard_.emplace(backend.stall, [context] { context->TryCancel(); });
  stream_ = std::make_unique<OpenStreams::Entry>(
      backend.streams,
      OpenStreams::Stream{
          .caller = admission_->caller(), .context = context, .end = [this](const absl::Status& why) { Cut(why); }});
  executor_->Run([this, source = std::move(source)] {
    absl::StatusOr<Payload> payload = source();
    if (!payload.ok()) return End(payload.status());
    payload_ = *std::move(payload);
    rest_ = payload_.bytes();
    SendNext();
  });
}

void DownloadReactor::OnWriteDone(bool ok) {
  guard_->Moved();
  executor_->Run([this, ok] { ok ? SendNext() : End(absl::CancelledError("the connection broke")); });
}

void DownloadReactor::Cut(const absl::Status& why) {
  base::MutexLock lock(&mu_);
  cut_ = why;
}

void DownloadReactor::SendNext() {
  absl::Status cut;
  {
    base::MutexLock lock(&mu_);
    cut = cut_;
  }
  if (!cut.ok()) return End(cut);
  if (rest_.empty()) return End(absl::OkStatus());
  const std::string_view piece = rest_.substr(0, kChunkBytes);
  chunk_.set_data(piece.data(), piece.size());
  rest_.remove_prefix(piece.size());
  guard_->Wait();
  StartWrite(&chunk_);
}

void DownloadReactor::End(const absl::Status& status) {
  stream_.reset();
  guard_.reset();
  admission_->Note(status);
  admission_.reset();
  Finish(rpc::ToGrpc(status));
}

}  // namespace qzo::server
