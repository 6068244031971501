// Links between stages over gRPC: the server for the stage before, calls to the stage after (proto/qzo/v1/stage.proto).
#ifndef QZO_WORKER_GRPC_STAGES_H_
#define QZO_WORKER_GRPC_STAGES_H_

#include <grpcpp/server.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "proto/tls.h"
#include "qzo/v1/stage.grpc.pb.h"
#include "worker/stage_link.h"

namespace qzo::worker {

// Thread-safe.
class GrpcStages final : public StageTransport {
 public:
  struct Options {
    std::string listen;     // host:port; port 0 is any free one
    std::string advertise;  // where others reach it, if elsewhere; port 0 is the one that it listens on
    bool insecure = false;  // clear text beyond this machine
    rpc::TlsFiles tls;      // with a certificate, all links are encrypted: at both ends alike
    std::string tls_name;   // that the certificates of all bear; "": each its host
    absl::Duration dial_timeout = absl::Seconds(30);  // that the next stage may be away
    const base::Clock* clock = nullptr;
  };

  // Possible errors: FAILED_PRECONDITION (clear text beyond this machine), UNAVAILABLE (the address cannot be used),
  // those of TLS files.
  static absl::StatusOr<std::unique_ptr<GrpcStages>> Start(const Options& options);
  ~GrpcStages() override { Shutdown(); }

  // Breaks all links, and makes no new ones: to their other sides it is as if this process had died.
  void Shutdown();

  const std::string& address() const { return address_; }  // that others reach

  std::unique_ptr<FrameSource> Accept(const v1::StagePlan& plan, std::function<void()> ended) override;
  absl::StatusOr<std::unique_ptr<FrameSink>> Dial(const v1::StagePlan& plan, std::function<void()> ended) override;

 private:
  class Inlet;
  class FedCall;
  class FeedCall;
  class Source;
  class Sink;
  using Key = std::pair<uint64_t, uint32_t>;  // pipeline, index

  class Service final : public v1::StageService::CallbackService {
   public:
    explicit Service(GrpcStages* stages) : stages_(*stages) {}
    grpc::ServerBidiReactor<v1::StageFrame, v1::FeedResponse>* Feed(grpc::CallbackServerContext* context) override;

   private:
    GrpcStages& stages_;
  };

  explicit GrpcStages(const Options& options) : options_(options), service_(this) {}
  absl::Status Listen();
  // NOT_FOUND, PERMISSION_DENIED.
  absl::StatusOr<std::shared_ptr<Inlet>> Find(const v1::StageFrame::Hello& hello);
  void Forget(const Key& key, const Inlet* inlet);
  void DestroyWhatIsOver();

  const Options options_;
  Service service_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  std::atomic<bool> down_{false};  // nothing ends in order any more

  base::Mutex mu_;
  base::CondVar changed_;
  std::map<Key, std::shared_ptr<Inlet>> inlets_ ABSL_GUARDED_BY(mu_);
  // Calls to next stages, and those that are over: gRPC's own threads, which say so, must not be the ones to destroy a
  // channel.
  std::set<std::shared_ptr<FeedCall>> calls_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<FeedCall>> over_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_GRPC_STAGES_H_
