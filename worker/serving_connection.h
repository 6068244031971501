// The stream on which a worker serves: dial, hand requests over, and again when it breaks. It shares the channel with
// the stream of steps, and nothing else: neither waits for the other.
#ifndef QZO_WORKER_SERVING_CONNECTION_H_
#define QZO_WORKER_SERVING_CONNECTION_H_

#include <grpcpp/channel.h>

#include <memory>
#include <thread>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "qzo/v1/inference.grpc.pb.h"
#include "worker/serving.h"

namespace qzo::worker {

// Thread-safe.
class ServingConnection {
 public:
  struct Options {
    v1::ServingHello hello;
    absl::Duration initial_backoff = absl::Milliseconds(200);
    absl::Duration max_backoff = absl::Seconds(10);
  };

  // `serving` must outlive the connection.
  ServingConnection(const Options& options, const std::shared_ptr<grpc::Channel>& channel, Serving* serving);
  // Breaks off what is open.
  ~ServingConnection();

  // Takes nothing new, and returns when everything is answered.
  void Leave();

 private:
  class Stream;

  void Run();
  absl::Status RunStream(bool* heard);

  const Options options_;
  const std::unique_ptr<v1::Serving::Stub> stub_;
  Serving* const serving_;

  base::Mutex mu_;
  base::CondVar changed_;
  std::shared_ptr<Stream> stream_ ABSL_GUARDED_BY(mu_);
  bool leaving_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_SERVING_CONNECTION_H_
