// The worker's stream to a coordinator: dial, attach, hand messages to the agent, and again when it breaks.
#ifndef QZO_WORKER_CONNECTION_H_
#define QZO_WORKER_CONNECTION_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "proto/dial.h"
#include "qzo/v1/worker.grpc.pb.h"
#include "worker/agent.h"
#include "worker/blob_client.h"
#include "worker/metrics.h"

namespace qzo::worker {

// A channel with the keepalive that finds a dead peer within 40 s. Its certificate must bear `tls_name`; "": its host.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const rpc::Endpoint& endpoint,
                                                           const std::string& tls_name = "");

// 128 random bits: tells this process from the one that had its name before.
std::string RandomIncarnation();

// Thread-safe but for Run, which one thread calls once.
class Connection {
 public:
  struct Options {
    v1::Attach attach;
    absl::Duration initial_backoff = absl::Milliseconds(200);
    absl::Duration max_backoff = absl::Seconds(10);
  };

  // The arguments must outlive the connection.
  Connection(const Options& options, const std::shared_ptr<grpc::Channel>& channel, Agent* agent, BlobClient* blobs,
             Metrics* metrics);

  // Returns when the worker has drained, by Drain or by the coordinator's wish, or has lost its device.
  void Run();
  // Answers what was asked, then leaves; at once where no coordinator has answered.
  void Drain();

 private:
  class Stream;

  // One stream from dial to end. Sets *attached when the coordinator took the worker.
  absl::Status RunStream(bool* attached);
  // True when it is time to leave rather than to dial again.
  bool WaitBeforeRetry(absl::Duration backoff);

  const Options options_;
  const std::unique_ptr<v1::Coordination::Stub> stub_;
  Agent* const agent_;
  BlobClient* const blobs_;
  Metrics* const metrics_;

  base::Mutex mu_;
  base::CondVar changed_;
  std::shared_ptr<Stream> unattached_ ABSL_GUARDED_BY(mu_);  // the stream until the coordinator has answered
  bool leaving_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_CONNECTION_H_
