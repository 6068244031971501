// What watches a process over HTTP: /metrics for Prometheus, /livez and /readyz for whoever restarts and routes.
#ifndef QZO_BASE_MONITOR_SERVER_H_
#define QZO_BASE_MONITOR_SERVER_H_

#include <prometheus/collectable.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/http_server.h"
#include "base/mutex.h"

namespace qzo::base {

// /metrics shows what was added, qzo_build_info and process_*. /livez answers 200 as long as the process can answer;
// /readyz 200, or 503 with the reason. Thread-safe.
class MonitorServer {
 public:
  struct Options {
    std::string address;  // host:port; port 0 = any free one
    std::string version;
    std::function<std::string()> why_not_ready;  // "" = ready; called on the server's threads
    std::string cert = {};                       // as of HttpServer
    std::string key = {};
    // Whether who sends this Authorization header may see /metrics; none = everyone may. Called likewise.
    std::function<bool(const std::string& authorization)> may_watch = nullptr;
  };

  // Errors as of HttpServer.
  static absl::StatusOr<std::unique_ptr<MonitorServer>> Start(Options options);
  // Waits for requests in progress; nothing that was added is called afterwards.
  ~MonitorServer();
  MonitorServer(const MonitorServer&) = delete;
  MonitorServer& operator=(const MonitorServer&) = delete;

  void Add(std::shared_ptr<const prometheus::Collectable> metrics);
  int port() const { return http_->port(); }

 private:
  explicit MonitorServer(Options options) : options_(std::move(options)) {}

  HttpAnswer Answer(const HttpRequest& request);
  std::string Metrics();

  const Options options_;
  Mutex mu_;
  std::vector<std::shared_ptr<const prometheus::Collectable>> metrics_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<HttpServer> http_;  // calls this object
};

}  // namespace qzo::base

#endif  // QZO_BASE_MONITOR_SERVER_H_
