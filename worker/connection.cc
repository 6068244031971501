#include "worker/connection.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proto/grpc_status.h"

namespace qzo::worker {
namespace {

constexpr int kMaxMessageBytes = 64 << 20;  // an OpenJob with its journal
constexpr absl::Duration kLongestPause = absl::Seconds(2);

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const rpc::Endpoint& endpoint, const std::string& tls_name) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Messages of tens of bytes gain nothing from a flow-control window that is probed for, at a ping each.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // Connection has its own backoff; the channel's must not be the longer one.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  if (!tls_name.empty()) arguments.SetSslTargetNameOverride(tls_name);
  return rpc::Dial(endpoint, arguments);
}

std::string RandomIncarnation() {
  std::random_device random;
  std::string text;
  for (int i = 0; i < 4; ++i) absl::StrAppendFormat(&text, "%08x", random());
  return text;
}

// Written by whoever has something to say; read by Run alone.
class Connection::Stream final : public Uplink {
 public:
  // Dials and blocks until that has worked or failed.
  void Start(v1::Coordination::Stub* stub, const v1::Attach& attach) {
    stream_ = stub->Work(&context_);
    {
      base::MutexLock lock(&mu_);
      open_ = true;
    }
    v1::WorkerMessage hello;
    *hello.mutable_attach() = attach;
    Send(hello);
  }
  void Send(const v1::WorkerMessage& message) override {
    base::MutexLock lock(&mu_);
    open_ = open_ && stream_->Write(message);
    computing_ = computing_ && !message.has_results() && !message.has_trouble();
    changed_.SignalAll();
  }
  void Close() override {
    base::MutexLock lock(&mu_);
    if (std::exchange(open_, false)) stream_->WritesDone();
    changed_.SignalAll();
  }
  // A read that waits makes gRPC return the flow-control window of what was read at once, in a packet of its own;
  // without one, it goes with the next write. So after a Work nothing is read until its results are sent, for a while
  // at most.
  void ExpectResults() {
    base::MutexLock lock(&mu_);
    computing_ = true;
  }
  void PauseReading() {
    base::MutexLock lock(&mu_);
    for (bool late = false; computing_ && open_ && !late;) late = !changed_.WaitFor(&mu_, kLongestPause);
    computing_ = false;
  }
  bool Read(v1::CoordinatorMessage* message) { return stream_->Read(message); }
  void Abort() override { context_.TryCancel(); }
  absl::Status Finish() {
    base::MutexLock lock(&mu_);
    open_ = false;
    return rpc::FromGrpc(stream_->Finish());
  }

 private:
  base::Mutex mu_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  bool computing_ ABSL_GUARDED_BY(mu_) = false;
  base::CondVar changed_;
};

Connection::Connection(const Options& options, const std::shared_ptr<grpc::Channel>& channel, Agent* agent,
                       BlobClient* blobs, Metrics* metrics)
    : options_(options), stub_(v1::Coordination::NewStub(channel)), agent_(agent), blobs_(blobs), metrics_(metrics) {}

void Connection::Run() {
  std::mt19937 random{std::random_device{}()};
  absl::Duration backoff = options_.initial_backoff;
  for (;;) {
    bool attached = false;
    const absl::Status status = RunStream(&attached);
    if (agent_->draining()) return;
    metrics_->reconnects.Increment();
    if (attached) backoff = options_.initial_backoff;
    // Half of it at random, so that a fleet does not come back all at once.
    const absl::Duration wait = backoff * std::uniform_real_distribution<double>(0.5, 1.0)(random);
    spdlog::warn("no coordinator: {}; trying again in {}", status.ok() ? "it closed the stream" : status.ToString(),
                 absl::FormatDuration(absl::Trunc(wait, absl::Milliseconds(1))));
    if (WaitBeforeRetry(wait)) return;
    backoff = std::min(backoff * 2, options_.max_backoff);
  }
}

absl::Status Connection::RunStream(bool* attached) {
  const auto stream = std::make_shared<Stream>();
  {
    base::MutexLock lock(&mu_);
    if (leaving_) stream->Abort();
    unattached_ = stream;
  }
  stream->Start(stub_.get(), options_.attach);
  agent_->Connect(stream);
  std::set<uint32_t> in_stages;  // jobs whose results come from another worker, or depend on others
  for (v1::CoordinatorMessage message; stream->Read(&message);) {
    if (!std::exchange(*attached, true)) {
      base::MutexLock lock(&mu_);
      unattached_ = nullptr;
      metrics_->attached.Set(1);
    }
    if (message.has_open()) {
      in_stages.erase(message.open().job());
      if (message.open().has_stage()) in_stages.insert(message.open().job());
    }
    if (message.work().item_count() > 0 && !in_stages.contains(message.work().job())) stream->ExpectResults();
    agent_->Receive(message);
    stream->PauseReading();
  }
  metrics_->attached.Set(0);
  agent_->Connect(nullptr);
  blobs_->CancelAll();
  {
    base::MutexLock lock(&mu_);
    unattached_ = nullptr;
  }
  return stream->Finish();
}

bool Connection::WaitBeforeRetry(absl::Duration backoff) {
  base::MutexLock lock(&mu_);
  while (!leaving_ && changed_.WaitFor(&mu_, backoff)) {
  }
  return leaving_;
}

void Connection::Drain() {
  agent_->Drain();
  base::MutexLock lock(&mu_);
  leaving_ = true;
  if (unattached_ != nullptr) unattached_->Abort();
  changed_.SignalAll();
}

}  // namespace qzo::worker
