#include "worker/grpc_stages.h"

#include <grpcpp/server_builder.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/address.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "proto/grpc_status.h"
#include "worker/connection.h"
#include "worker/frame_queue.h"

namespace qzo::worker {
namespace {

constexpr int kWindowBytes = 4 << 20;  // that a stage may be ahead on the wire
constexpr absl::Duration kFirstPause = absl::Milliseconds(20), kLongestPause = absl::Seconds(1);

absl::Status InOrder() { return absl::CancelledError("the pipeline has ended"); }
absl::Status Lost(std::string_view why) { return absl::UnavailableError(absl::StrCat("lost: ", base::ToAbsl(why))); }

bool SameSecret(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

// --- from the stage before
// -----------------------------------------------------------------------------------------------------

// Where a stage waits for the one before: what has come, and the call that brings it.
class GrpcStages::Inlet {
 public:
  Inlet(std::string secret, std::function<void()> ended) : secret_(std::move(secret)), ended_(std::move(ended)) {}

  FrameQueue& queue() { return queue_; }
  bool Admits(const std::string& secret) const { return SameSecret(secret_, secret); }

  // False when a call has it already.
  bool Attach(FedCall* call);
  void Detach();
  // The peer's end, or the loss of the call.
  void EndByPeer(const absl::Status& why) {
    if (queue_.End(why)) ended_();
  }
  void End();
  absl::StatusOr<v1::StageFrame> Receive();

 private:
  const std::string secret_;
  const std::function<void()> ended_;
  FrameQueue queue_{kLinkBufferBytes};

  base::Mutex mu_;
  bool taken_ ABSL_GUARDED_BY(mu_) = false;
  FedCall* call_ ABSL_GUARDED_BY(mu_) = nullptr;
};

// A call of the stage before. Reads as long as there is room for what comes.
class GrpcStages::FedCall final : public grpc::ServerBidiReactor<v1::StageFrame, v1::FeedResponse> {
 public:
  explicit FedCall(GrpcStages* stages) : stages_(*stages) { StartRead(&frame_); }

  // There is room again.
  void Resume() {
    base::MutexLock lock(&mu_);
    if (!paused_ || closed_ || inlet_->queue().full()) return;
    paused_ = false;
    StartRead(&frame_);
  }
  void Close(const absl::Status& status) {
    base::MutexLock lock(&mu_);
    if (closed_) return;
    closed_ = true;
    status_ = stages_.down_ ? absl::CancelledError("shut down") : status;
    Proceed();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Broken();
    if (inlet_ == nullptr) {
      if (const absl::Status status = Attach(); !status.ok()) return Close(status);
    } else if (frame_.has_end()) {
      inlet_->EndByPeer(InOrder());
      return Close(absl::OkStatus());
    } else {
      inlet_->queue().Add(std::move(frame_));
      frame_.Clear();
    }
    base::MutexLock lock(&mu_);
    if (closed_) return;  // no read after Finish
    paused_ = inlet_->queue().full();
    if (!paused_) StartRead(&frame_);
  }
  void OnWriteDone(bool) override {
    base::MutexLock lock(&mu_);
    writing_ = false;
    Proceed();
  }
  void OnCancel() override { Broken(); }
  void OnDone() override {
    if (inlet_ != nullptr) inlet_->Detach();
    delete this;
  }

 private:
  absl::Status Attach() {
    if (!frame_.has_hello()) return absl::InvalidArgumentError("the first frame must be a hello");
    QZO_ASSIGN_OR_RETURN(std::shared_ptr<Inlet> inlet, stages_.Find(frame_.hello()));
    if (!inlet->Attach(this)) return absl::AlreadyExistsError("the stage is fed by another call");
    base::MutexLock lock(&mu_);
    inlet_ = std::move(inlet);
    if (closed_) return absl::OkStatus();
    writing_ = true;
    StartWrite(&response_);
    return absl::OkStatus();
  }
  void Broken() {
    std::shared_ptr<Inlet> inlet;
    {
      base::MutexLock lock(&mu_);
      inlet = inlet_;
    }
    if (inlet != nullptr) inlet->EndByPeer(Lost("the connection broke"));
    Close(absl::CancelledError("the connection broke"));
  }
  void Proceed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!closed_ || writing_ || finished_) return;
    finished_ = true;
    Finish(status_.ok() ? grpc::Status::OK : rpc::ToGrpc(status_));
  }

  GrpcStages& stages_;
  v1::StageFrame frame_;
  const v1::FeedResponse response_;

  base::Mutex mu_;
  std::shared_ptr<Inlet> inlet_;  // set once, by a read; guarded where others than reads look at it
  bool paused_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

bool GrpcStages::Inlet::Attach(FedCall* call) {
  {
    base::MutexLock lock(&mu_);
    if (std::exchange(taken_, true)) return false;
    call_ = call;
  }
  queue_.Open();
  return true;
}

void GrpcStages::Inlet::Detach() {
  base::MutexLock lock(&mu_);
  call_ = nullptr;
}

void GrpcStages::Inlet::End() {
  queue_.End(InOrder());
  base::MutexLock lock(&mu_);
  taken_ = true;
  if (call_ != nullptr) call_->Close(absl::OkStatus());
}

absl::StatusOr<v1::StageFrame> GrpcStages::Inlet::Receive() {
  absl::StatusOr<v1::StageFrame> frame = queue_.Pop();
  base::MutexLock lock(&mu_);
  if (call_ != nullptr) call_->Resume();
  return frame;
}

class GrpcStages::Source final : public FrameSource {
 public:
  Source(GrpcStages* stages, const Key& key, std::shared_ptr<Inlet> inlet)
      : stages_(*stages), key_(key), inlet_(std::move(inlet)) {}
  ~Source() override { Source::End(); }
  absl::Status Connect() override { return inlet_->queue().WaitUntilOpen(); }
  absl::Status status() const override { return inlet_->queue().status(); }
  void End() override {
    inlet_->End();
    stages_.Forget(key_, inlet_.get());
  }
  absl::StatusOr<v1::StageFrame> Receive() override { return inlet_->Receive(); }

 private:
  GrpcStages& stages_;
  const Key key_;
  const std::shared_ptr<Inlet> inlet_;
};

grpc::ServerBidiReactor<v1::StageFrame, v1::FeedResponse>* GrpcStages::Service::Feed(grpc::CallbackServerContext*) {
  return new FedCall(&stages_);  // deletes itself when done
}

std::unique_ptr<FrameSource> GrpcStages::Accept(const v1::StagePlan& plan, std::function<void()> ended) {
  const Key key(plan.pipeline(), plan.index());
  auto inlet = std::make_shared<Inlet>(plan.secret(), std::move(ended));
  {
    base::MutexLock lock(&mu_);
    inlets_[key] = inlet;
  }
  return std::make_unique<Source>(this, key, std::move(inlet));
}

absl::StatusOr<std::shared_ptr<GrpcStages::Inlet>> GrpcStages::Find(const v1::StageFrame::Hello& hello) {
  base::MutexLock lock(&mu_);
  const auto found = inlets_.find({hello.pipeline(), hello.index()});
  if (found == inlets_.end()) return absl::NotFoundError("no such stage is expected here");
  if (!found->second->Admits(hello.secret())) return absl::PermissionDeniedError("not the pipeline's secret");
  return found->second;
}

void GrpcStages::Forget(const Key& key, const Inlet* inlet) {
  base::MutexLock lock(&mu_);
  const auto found = inlets_.find(key);
  if (found != inlets_.end() && found->second.get() == inlet) inlets_.erase(found);
}

// --- to the stage after
// ----------------------------------------------------------------------------------------------------------

// One attempt to reach the next stage, and, when it is taken, what carries the frames of a queue there.
class GrpcStages::FeedCall final : public grpc::ClientBidiReactor<v1::StageFrame, v1::FeedResponse> {
 public:
  FeedCall(GrpcStages* stages, std::shared_ptr<grpc::Channel> channel, std::shared_ptr<FrameQueue> queue,
           std::function<void()> ended)
      : stages_(*stages),
        channel_(std::move(channel)),
        stub_(v1::StageService::NewStub(channel_)),
        queue_(std::move(queue)),
        ended_(std::move(ended)) {}

  void Start(const v1::StageFrame& hello, const std::shared_ptr<FeedCall>& self) {
    bool late = false;  // after Shutdown has cancelled the others
    {
      base::MutexLock lock(&stages_.mu_);
      stages_.calls_.insert(self);
      late = stages_.down_;
    }
    stub_->async()->Feed(&context_, this);
    AddHold();  // frames are written from outside; removed with the last read
    base::MutexLock lock(&mu_);
    frame_ = hello;
    writing_ = true;
    StartRead(&response_);
    StartWrite(&frame_);
    StartCall();
    if (late) Cancel();
  }
  // OK when the hello was taken, else why not; CANCELLED after End.
  absl::Status WaitUntilTaken() {
    base::MutexLock lock(&mu_);
    while (!taken_ && !done_ && !ending_) changed_.Wait(&mu_);
    if (ending_) return InOrder();
    return taken_ ? absl::OkStatus() : *done_;
  }
  // Writes what is in the queue, if nothing is being written.
  void Pump() {
    base::MutexLock lock(&mu_);
    Proceed();
  }
  void End() {
    base::MutexLock lock(&mu_);
    ending_ = true;
    changed_.SignalAll();
    Proceed();
  }
  void Cancel() { context_.TryCancel(); }

  void OnWriteDone(bool ok) override {
    base::MutexLock lock(&mu_);
    writing_ = false;
    if (ok) Proceed();
  }
  void OnReadDone(bool ok) override {
    {
      base::MutexLock lock(&mu_);
      taken_ = taken_ || ok;
      over_ = over_ || !ok;
      changed_.SignalAll();
    }
    if (ok) {
      StartRead(&response_);
      Pump();
    } else {
      RemoveHold();
    }
  }
  void OnDone(const grpc::Status& status) override {
    bool taken = false;
    const absl::Status end = rpc::FromGrpc(status);
    {
      base::MutexLock lock(&mu_);
      done_ = end.ok() ? absl::UnavailableError("the stage ended at once") : end;
      taken = taken_;
      changed_.SignalAll();
    }
    if (taken && queue_->End(end.ok() ? InOrder() : Lost(end.ToString()))) ended_();
    base::MutexLock lock(&stages_.mu_);
    const auto own = std::find_if(stages_.calls_.begin(), stages_.calls_.end(),
                                  [this](const std::shared_ptr<FeedCall>& call) { return call.get() == this; });
    stages_.over_.push_back(*own);
    stages_.calls_.erase(own);
    stages_.changed_.SignalAll();
  }

 private:
  void Proceed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || over_ || closed_ || stages_.down_) return;
    if (end_said_) {
      closed_ = true;
      StartWritesDone();
    } else if (ending_) {
      end_said_ = true;
      frame_.mutable_end();
      writing_ = true;
      StartWrite(&frame_);
    } else if (taken_) {
      std::optional<v1::StageFrame> next = queue_->TryPop();
      if (!next) return;
      frame_ = *std::move(next);
      writing_ = true;
      StartWrite(&frame_);
    }
  }

  GrpcStages& stages_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::StageService::Stub> stub_;
  const std::shared_ptr<FrameQueue> queue_;
  const std::function<void()> ended_;
  grpc::ClientContext context_;
  v1::FeedResponse response_;

  base::Mutex mu_;
  base::CondVar changed_;
  v1::StageFrame frame_ ABSL_GUARDED_BY(mu_);  // being written
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool taken_ ABSL_GUARDED_BY(mu_) = false;
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
  bool end_said_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;  // no more writes
  bool over_ ABSL_GUARDED_BY(mu_) = false;    // the call is
  std::optional<absl::Status> done_ ABSL_GUARDED_BY(mu_);
};

class GrpcStages::Sink final : public FrameSink {
 public:
  Sink(GrpcStages* stages, const v1::StagePlan& plan, std::shared_ptr<grpc::Channel> channel,
       std::function<void()> ended)
      : stages_(*stages), address_(plan.next_address()), channel_(std::move(channel)), ended_(std::move(ended)) {
    v1::StageFrame::Hello& hello = *hello_.mutable_hello();
    hello.set_pipeline(plan.pipeline());
    hello.set_index(plan.index() + 1);
    hello.set_secret(plan.secret());
  }
  ~Sink() override { Sink::End(); }

  absl::Status Connect() override {
    const absl::Duration begin = stages_.options_.clock->Monotonic();
    for (absl::Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
      auto call = std::make_shared<FeedCall>(&stages_, channel_, queue_, ended_);
      {
        base::MutexLock lock(&mu_);
        if (absl::Status ended = queue_->status(); !ended.ok()) return ended;
        call_ = call;
        call->Start(hello_, call);
      }
      const absl::Status status = call->WaitUntilTaken();
      if (status.ok()) return queue_->status();
      const bool again = absl::IsNotFound(status) || absl::IsUnavailable(status);  // it may come yet
      if (!again || stages_.options_.clock->Monotonic() - begin >= stages_.options_.dial_timeout) {
        queue_->End({again ? absl::StatusCode::kUnavailable : status.code(),
                     absl::StrCat(address_, ": ", std::string(status.message()))});
        return queue_->status();
      }
      if (absl::Status ended = queue_->WaitForEnd(pause); !ended.ok()) return ended;
    }
  }
  absl::Status status() const override { return queue_->status(); }
  absl::Status Send(v1::StageFrame frame) override {
    QZO_RETURN_IF_ERROR(queue_->Push(std::move(frame)));
    base::MutexLock lock(&mu_);
    call_->Pump();
    return absl::OkStatus();
  }
  void End() override {
    queue_->End(InOrder());
    base::MutexLock lock(&mu_);
    if (call_ != nullptr) call_->End();
  }

 private:
  GrpcStages& stages_;
  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::function<void()> ended_;
  const std::shared_ptr<FrameQueue> queue_ = std::make_shared<FrameQueue>(kLinkBufferBytes);
  v1::StageFrame hello_;

  base::Mutex mu_;
  std::shared_ptr<FeedCall> call_ ABSL_GUARDED_BY(mu_);  // the latest
};

absl::StatusOr<std::unique_ptr<FrameSink>> GrpcStages::Dial(const v1::StagePlan& plan, std::function<void()> ended) {
  DestroyWhatIsOver();
  rpc::Endpoint endpoint;
  endpoint.server = plan.next_address();
  endpoint.insecure = options_.insecure;
  if (!options_.tls.cert.empty()) endpoint.tls = options_.tls;  // as the other side does
  QZO_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, MakeChannel(endpoint, options_.tls_name));
  return std::make_unique<Sink>(this, plan, std::move(channel), std::move(ended));
}

// --- the server
// ------------------------------------------------------------------------------------------------------------------

absl::StatusOr<std::unique_ptr<GrpcStages>> GrpcStages::Start(const Options& options) {
  std::unique_ptr<GrpcStages> stages(new GrpcStages(options));
  QZO_RETURN_IF_ERROR(stages->Listen());
  return stages;
}

absl::Status GrpcStages::Listen() {
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (!options_.tls.cert.empty()) {
    QZO_ASSIGN_OR_RETURN(credentials, rpc::MakeTlsServerCredentials(options_.tls));
  } else if (!options_.insecure && !base::IsLoopback(options_.listen)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--stage-address ", options_.listen,
                     ": activations in clear text beyond this machine; pass --tls-cert and --tls-key, or --insecure"));
  }
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&service_);
  int port = 0;
  builder.AddListeningPort(options_.listen, credentials, &port);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.listen,
                                               ": the port is in use, or the address is not this machine's"));
  }
  const std::string& address = options_.advertise.empty() ? options_.listen : options_.advertise;
  address_ = absl::EndsWith(address, ":0") ? absl::StrCat(absl::StripSuffix(address, "0"), port) : address;
  return absl::OkStatus();
}

void GrpcStages::Shutdown() {
  down_ = true;
  {
    base::MutexLock lock(&mu_);
    for (const std::shared_ptr<FeedCall>& call : calls_) call->Cancel();
  }
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();  // waits for the calls' last words
  {
    base::MutexLock lock(&mu_);
    while (!calls_.empty()) changed_.Wait(&mu_);
  }
  DestroyWhatIsOver();
}

void GrpcStages::DestroyWhatIsOver() {
  std::vector<std::shared_ptr<FeedCall>> over;
  base::MutexLock lock(&mu_);
  over.swap(over_);
}

}  // namespace qzo::worker
