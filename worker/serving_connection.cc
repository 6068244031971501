#include "worker/serving_connection.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <utility>

#include "proto/grpc_status.h"

namespace qzo::worker {

// Written by whoever has something to say; read by Run alone.
class ServingConnection::Stream final : public ServingUplink {
 public:
  void Start(v1::Serving::Stub* stub, const v1::ServingHello& hello) {
    stream_ = stub->Serve(&context_);
    {
      base::MutexLock lock(&mu_);
      open_ = true;
    }
    v1::ServingMessage message;
    *message.mutable_hello() = hello;
    Send(message);
  }
  void Send(const v1::ServingMessage& message) override {
    base::MutexLock lock(&mu_);
    open_ = open_ && stream_->Write(message);
  }
  void Close() {
    base::MutexLock lock(&mu_);
    if (std::exchange(open_, false)) stream_->WritesDone();
  }
  bool Read(v1::ServingRequest* request) { return stream_->Read(request); }
  void Cancel() { context_.TryCancel(); }
  absl::Status Finish() {
    base::MutexLock lock(&mu_);
    open_ = false;
    return rpc::FromGrpc(stream_->Finish());
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ServingMessage, v1::ServingRequest>> stream_;
  base::Mutex mu_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
};

ServingConnection::ServingConnection(const Options& options, const std::shared_ptr<grpc::Channel>& channel,
                                     Serving* serving)
    : options_(options), stub_(v1::Serving::NewStub(channel)), serving_(serving), thread_([this] { Run(); }) {}

ServingConnection::~ServingConnection() {
  {
    base::MutexLock lock(&mu_);
    leaving_ = true;
    if (stream_ != nullptr) stream_->Cancel();
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ServingConnection::Leave() {
  serving_->Retire();
  std::shared_ptr<Stream> stream;
  {
    base::MutexLock lock(&mu_);
    leaving_ = true;
    stream = stream_;
    changed_.SignalAll();
  }
  if (stream != nullptr) {
    v1::ServingMessage message;
    message.mutable_leaving();
    stream->Send(message);
    serving_->WaitUntilIdle();
    stream->Close();
  }
  thread_.join();
}

void ServingConnection::Run() {
  std::mt19937 random{std::random_device{}()};
  absl::Duration backoff = options_.initial_backoff;
  for (;;) {
    bool heard = false;
    const absl::Status status = RunStream(&heard);
    if (heard) backoff = options_.initial_backoff;
    const absl::Duration wait = backoff * std::uniform_real_distribution<double>(0.5, 1.0)(random);
    base::MutexLock lock(&mu_);
    if (!leaving_) spdlog::debug("serving: {}", status.ToString());
    while (!leaving_ && changed_.WaitFor(&mu_, wait)) {
    }
    if (leaving_) return;
    backoff = std::min(backoff * 2, options_.max_backoff);
  }
}

absl::Status ServingConnection::RunStream(bool* heard) {
  const auto stream = std::make_shared<Stream>();
  {
    base::MutexLock lock(&mu_);
    if (leaving_) return absl::OkStatus();
    stream_ = stream;
  }
  stream->Start(stub_.get(), options_.hello);
  {
    base::MutexLock lock(&mu_);
    if (leaving_) stream->Close();  // Leave may have come too early for it
  }
  for (v1::ServingRequest request; stream->Read(&request);) {
    *heard = true;
    serving_->Receive(request, stream);
  }
  serving_->Forget(stream);
  {
    base::MutexLock lock(&mu_);
    stream_ = nullptr;
  }
  return stream->Finish();
}

}  // namespace qzo::worker
