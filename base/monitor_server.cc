#include "base/monitor_server.h"

#include <civetweb.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
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

// Returns what civetweb wants of its callback.
int Answer(mg_connection* connection, int code, const char* phrase, const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %zu\r\n\r\n",
            code, phrase, body.size());
  mg_write(connection, body.data(), body.size());
  return code;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MonitorServer>> MonitorServer::Start(Options options) {
  std::unique_ptr<MonitorServer> server(new MonitorServer(std::move(options)));
  server->Add(std::make_shared<BuildInfo>(server->options_.version));
  server->Add(std::make_shared<ProcessMetrics>());
  mg_callbacks callbacks{};
  callbacks.begin_request = &OnRequest;
  callbacks.log_message = [](const mg_connection*, const char* message) {
    spdlog::debug("metrics: {}", message);
    return 1;
  };
  const char* settings[] = {"listening_ports", server->options_.address.c_str(), "num_threads", "2", nullptr};
  server->context_ = mg_start(&callbacks, server.get(), settings);
  if (server->context_ != nullptr) return server;
  return absl::UnavailableError(absl::StrCat(
      "cannot serve metrics on ", server->options_.address,
      ": the port is in use, or the address is not this machine's (--metrics-address= turns metrics off)"));
}

MonitorServer::~MonitorServer() {
  if (context_ != nullptr) mg_stop(context_);
}

void MonitorServer::Add(std::shared_ptr<const prometheus::Collectable> metrics) {
  MutexLock lock(&mu_);
  metrics_.push_back(std::move(metrics));
}

int MonitorServer::port() const {
  mg_server_port port{};
  QZO_CHECK(mg_get_server_ports(context_, 1, &port) == 1);
  return port.port;
}

int MonitorServer::OnRequest(mg_connection* connection) {
  auto* server = static_cast<MonitorServer*>(mg_get_user_data(mg_get_context(connection)));
  const mg_request_info& request = *mg_get_request_info(connection);
  const std::string_view path = request.local_uri;
  if (std::string_view(request.request_method) != "GET") return Answer(connection, 405, "Method Not Allowed", "");
  if (path == "/metrics") return Answer(connection, 200, "OK", server->Metrics());
  if (path == "/livez") return Answer(connection, 200, "OK", "ok\n");
  if (path != "/readyz") return Answer(connection, 404, "Not Found", "here are /metrics, /livez and /readyz\n");
  const std::string reason = server->options_.why_not_ready();
  if (reason.empty()) return Answer(connection, 200, "OK", "ok\n");
  return Answer(connection, 503, "Service Unavailable", absl::StrCat(reason, "\n"));
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
