// The status page: what stands at each path. It reads through the server's own API, as whoever holds the token that
// came with the request, so that it can show nothing that the API would not. Thread-safe.
#ifndef QZO_SERVER_PAGE_SITE_H_
#define QZO_SERVER_PAGE_SITE_H_

#include <grpcpp/channel.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "qzo/v1/adapter.grpc.pb.h"
#include "qzo/v1/job.grpc.pb.h"
#include "qzo/v1/worker.grpc.pb.h"
#include "server/page/views.h"

namespace qzo::server {

struct PageRequest {
  std::string method;         // GET or POST
  std::string path;           // decoded, without the query
  std::string page;           // ?page=
  std::string token;          // of the form that signs in
  std::string authorization;  // header
  std::string cookie;         // header
};

struct PageAnswer {
  int code = 200;
  std::string type = "text/html; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

class Site {
 public:
  struct Options {
    bool secure = false;  // reached by TLS alone: cookies stay there, too
    // The project that a secret is good for, kEveryProject for all of them; unknown secrets may give anything.
    std::function<std::string(const std::string& secret)> project_of;
  };

  // `channel` leads to the server itself; `clock` must outlive the site.
  Site(Options options, const std::shared_ptr<grpc::Channel>& channel, const base::Clock* clock);

  PageAnswer Answer(const PageRequest& request);

 private:
  absl::StatusOr<PageAnswer> Show(const PageRequest& request, const std::string& secret);
  absl::StatusOr<JobsData> ReadJobs(const std::string& secret, const std::string& page);
  absl::StatusOr<JobData> ReadJob(const std::string& secret, const std::string& name);
  absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(const std::string& secret, const std::string& job);
  absl::StatusOr<std::vector<v1::Worker>> ReadWorkers(const std::string& secret);
  absl::StatusOr<PageAnswer> Download(const std::string& secret, const std::string& job);

  const Options options_;
  const base::Clock* const clock_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  const std::unique_ptr<v1::AdapterService::Stub> adapters_;
  const std::unique_ptr<v1::WorkerService::Stub> workers_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_PAGE_SITE_H_
