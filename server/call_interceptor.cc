#include "server/call_interceptor.h"

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace qzo::server {
namespace {

using grpc::experimental::ServerRpcInfo;
using Labels = std::map<std::string, std::string>;

const prometheus::Histogram::BucketBoundaries kSeconds = {.001, .0025, .005, .01, .025, .05, .1,
                                                          .25,  .5,    1,    2.5, 5,    10};

// The spelling of Go's gRPC, which dashboards expect.
std::string CodeName(grpc::StatusCode code) {
  constexpr std::array<const char*, 17> kNames = {
      "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
      "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
      "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
      "DataLoss", "Unauthenticated"};
  const auto index = static_cast<size_t>(code);
  return index < kNames.size() ? kNames[index] : "Unknown";
}

const char* TypeName(ServerRpcInfo::Type type) {
  switch (type) {
    case ServerRpcInfo::Type::UNARY:
      return "unary";
    case ServerRpcInfo::Type::CLIENT_STREAMING:
      return "client_stream";
    case ServerRpcInfo::Type::SERVER_STREAMING:
      return "server_stream";
    case ServerRpcInfo::Type::BIDI_STREAMING:
      return "bidi_stream";
  }
  return "";
}

// "/qzo.v1.JobService/GetJob" in two.
Labels LabelsOf(const ServerRpcInfo& info) {
  const std::string_view path = info.method();
  const size_t slash = path.rfind('/');
  return {{"grpc_type", TypeName(info.type())},
          {"grpc_service", std::string(path.substr(1, slash - 1))},
          {"grpc_method", std::string(path.substr(slash + 1))}};
}

}  // namespace

class CallInterceptorFactory::Call final : public grpc::experimental::Interceptor {
 public:
  Call(CallInterceptorFactory* factory, Labels labels)
      : factory_(factory), labels_(std::move(labels)), start_(factory->clock_->Monotonic()) {
    factory_->started_.Add(labels_).Increment();
  }
  ~Call() override {
    const absl::Duration taken = factory_->clock_->Monotonic() - start_;
    factory_->seconds_.Add(labels_, kSeconds).Observe(absl::ToDoubleSeconds(taken));
    labels_["grpc_code"] = CodeName(code_);
    factory_->handled_.Add(labels_).Increment();
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = methods->GetSendStatus().error_code();
    }
    methods->Proceed();
  }

 private:
  CallInterceptorFactory* const factory_;
  Labels labels_;
  const absl::Duration start_;
  grpc::StatusCode code_ = grpc::StatusCode::CANCELLED;  // stays when no status was ever sent
};

CallInterceptorFactory::CallInterceptorFactory(prometheus::Registry* registry, const base::Clock* clock)
    : started_(prometheus::BuildCounter().Name("grpc_server_started_total").Help("Calls begun").Register(*registry)),
      handled_(prometheus::BuildCounter()
                   .Name("grpc_server_handled_total")
                   .Help("Calls ended, by code")
                   .Register(*registry)),
      seconds_(prometheus::BuildHistogram()
                   .Name("grpc_server_handling_seconds")
                   .Help("From a call's beginning to its end")
                   .Register(*registry)),
      clock_(clock) {}

grpc::experimental::Interceptor* CallInterceptorFactory::CreateServerInterceptor(ServerRpcInfo* info) {
  return new Call(this, LabelsOf(*info));
}

}  // namespace qzo::server
