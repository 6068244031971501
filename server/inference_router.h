// Which worker answers which inference request. Knows no gRPC. Thread-safe.
//
// A request goes to the worker with a free slot that wrote with its model last, else to the one with the fewest
// requests. When a worker is lost, or says UNAVAILABLE, before it has said anything of a request, another one begins it
// anew.
#ifndef QZO_SERVER_INFERENCE_ROUTER_H_
#define QZO_SERVER_INFERENCE_ROUTER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "qzo/v1/inference.pb.h"

namespace qzo::server {

class InferenceRouter {
 public:
  // Sends to a worker; queues and never blocks.
  using Send = std::function<void(const v1::ServingRequest& request)>;
  // Takes the answers to a request: any number of texts, then one with `finish`, scores or an error; called with the
  // router's lock held, so quick, and without calling back. Nothing follows the last one.
  using Sink = std::function<void(const v1::ServingMessage& message)>;

  uint64_t AddWorker(const v1::ServingHello& hello, Send send);
  // It gets nothing new.
  void Retire(uint64_t worker);
  // It is gone.
  void RemoveWorker(uint64_t worker);
  void Receive(uint64_t worker, const v1::ServingMessage& message);

  // Sets request->request. UNAVAILABLE (NO_WORKER), RESOURCE_EXHAUSTED (SERVING_FULL) with a delay.
  absl::StatusOr<uint64_t> Begin(v1::ServingRequest request, Sink sink);
  // The sink is not called afterwards. Without effect on what has ended.
  void Cancel(uint64_t request);

 private:
  struct Worker {
    std::string name;
    uint32_t slots = 0;
    Send send;
    bool retired = false;
    std::string model;  // of its last request
    std::set<uint64_t> requests = {};
  };
  struct Request {
    v1::ServingRequest request;
    Sink sink;
    uint64_t worker = 0;
    bool answered = false;  // in part
    std::set<uint64_t> tried = {};
  };

  absl::Status Place(Request* request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The request's worker will not answer it.
  void PlaceAgain(uint64_t request, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the request from its worker and forgets it.
  void End(uint64_t request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Mutex mu_;
  uint64_t next_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, Worker> workers_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, Request> requests_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_INFERENCE_ROUTER_H_
