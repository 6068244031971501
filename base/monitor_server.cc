#include "base/monitor_server.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/process_metrics.h"

namespace qzo::base {
namespace {

class BuildInfo final : public prometheus::Collectable {
 public:
  explicit BuildInfo(const std::string& version) { metric_.label = {{"version", version}}, metric_.gauge.value = 1; }
  std::vector<prometheus::MetricFamily> Collect() const override {
    return {{"qzo_build_info", "The running version", prometheus::MetricType::Gauge, {metric_}}};
  }

 private:
  prometheus::ClientMetric metric_;
};

constexpr char kType[] = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace

absl::StatusOr<std::unique_ptr<MonitorServer>> MonitorServer::Start(Options options) {
  std::unique_ptr<MonitorServer> server(new MonitorServer(std::move(options)));
  server->Add(std::make_shared<BuildInfo>(server->options_.version));
  server->Add(std::make_shared<ProcessMetrics>());
  const Options& o = server->options_;
  absl::StatusOr<std::unique_ptr<HttpServer>> http =
      HttpServer::Start({.what = "metrics", .address = o.address, .cert = o.cert, .key = o.key},
                        [raw = server.get()](const HttpRequest& request) { return raw->Answer(request); });
  if (!http.ok()) {
    return absl::Status(http.status().code(),
                        absl::StrCat(http.status().message(), " (--metrics-address= turns metrics off)"));
  }
  server->http_ = *std::move(http);
  return server;
}

MonitorServer::~MonitorServer() { http_.reset(); }

void MonitorServer::Add(std::shared_ptr<const prometheus::Collectable> metrics) {
  MutexLock lock(&mu_);
  metrics_.push_back(std::move(metrics));
}

HttpAnswer MonitorServer::Answer(const HttpRequest& request) {
  if (request.method != "GET") return {405, kType, ""};
  if (request.path == "/livez") return {200, kType, "ok\n"};
  if (request.path == "/readyz") {
    const std::string reason = options_.why_not_ready();
    return reason.empty() ? HttpAnswer{200, kType, "ok\n"} : HttpAnswer{503, kType, absl::StrCat(reason, "\n")};
  }
  if (request.path != "/metrics") return {404, kType, "here are /metrics, /livez and /readyz\n"};
  if (options_.may_watch && !options_.may_watch(request.authorization)) {
    return {401, kType, "a token is needed that may view every project\n", {{"WWW-Authenticate", "Bearer"}}};
  }
  return {200, kType, Metrics()};
}

std::string MonitorServer::Metrics() {
  std::vector<prometheus::MetricFamily> families;
  MutexLock lock(&mu_);
  for (const auto& metrics : metrics_) {
    std::vector<prometheus::MetricFamily> more = metrics->Collect();
    families.insert(families.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace qzo::base
