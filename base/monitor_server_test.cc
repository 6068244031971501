#include "base/monitor_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "base/process_metrics.h"
#include "tests/support/status_matchers.h"

namespace qzo::base {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class MonitorServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(server_, MonitorServer::Start({"127.0.0.1:0", "1.2.3", [this] { return reason_; }}));
  }
  // The whole answer, headers first.
  std::string Ask(const std::string& method, const std::string& path) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(server_->port()));
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::string request = absl::StrCat(method, " ", path, " HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    EXPECT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string answer;
    std::array<char, 4096> buffer;
    for (ssize_t n; (n = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;) answer.append(buffer.data(), n);
    ::close(fd);
    return answer;
  }

  std::string reason_;
  std::unique_ptr<MonitorServer> server_;
};

TEST_F(MonitorServerTest, MetricsAreThoseOfTheProcessAndThoseThatWereAdded) {
  const auto registry = std::make_shared<prometheus::Registry>();
  server_->Add(registry);
  prometheus::BuildCounter().Name("qzo_things_total").Register(*registry).Add({{"kind", "good"}}).Increment(3);
  EXPECT_THAT(Ask("GET", "/metrics"),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("\nqzo_build_info{version=\"1.2.3\"} 1"),
                    HasSubstr("\nprocess_open_fds "), HasSubstr("\nqzo_things_total{kind=\"good\"} 3\n")));
}

TEST_F(MonitorServerTest, AProcessIsAliveBeforeItIsReady) {
  reason_ = "recovering";
  EXPECT_THAT(Ask("GET", "/readyz"), AllOf(StartsWith("HTTP/1.1 503"), EndsWith("\r\n\r\nrecovering\n")));
  EXPECT_THAT(Ask("GET", "/livez"), StartsWith("HTTP/1.1 200"));
  reason_ = "";
  EXPECT_THAT(Ask("GET", "/readyz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(MonitorServerTest, NothingElseIsServed) {
  EXPECT_THAT(Ask("GET", "/"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Ask("GET", "/metrics/../etc/passwd"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Ask("POST", "/metrics"), StartsWith("HTTP/1.1 405"));
}

TEST_F(MonitorServerTest, AnAddressThatCannotBeBoundIsNamed) {
  const std::string taken = absl::StrCat("127.0.0.1:", server_->port());
  for (const std::string& address : {taken, std::string("256.0.0.1:9464")}) {
    EXPECT_THAT(MonitorServer::Start({address, "", [] { return ""; }}),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
  }
  EXPECT_THAT(MonitorServer::Start({"nonsense", "", [] { return ""; }}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("metrics: 'nonsense'")));
}

TEST(ProcessMetrics, HaveTheNamesThatDashboardsKnow) {
  std::vector<std::string> names;
  for (const prometheus::MetricFamily& family : ProcessMetrics().Collect()) {
    names.push_back(family.name);
    const prometheus::ClientMetric& metric = family.metric.front();
    EXPECT_GT(family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value, 0)
        << family.name;
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("process_cpu_seconds_total", "process_resident_memory_bytes",
                                                     "process_open_fds", "process_start_time_seconds"));
}

}  // namespace
}  // namespace qzo::base
