// Sees every call of every service: counts and times it under the names that stock gRPC dashboards know. Thread-safe.
#ifndef QZO_SERVER_CALL_INTERCEPTOR_H_
#define QZO_SERVER_CALL_INTERCEPTOR_H_

#include <grpcpp/support/server_interceptor.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "base/clock.h"

namespace qzo::server {

class CallInterceptorFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  // The arguments must outlive the factory and its calls.
  CallInterceptorFactory(prometheus::Registry* registry, const base::Clock* clock);

  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override;

 private:
  class Call;

  prometheus::Family<prometheus::Counter>& started_;
  prometheus::Family<prometheus::Counter>& handled_;
  prometheus::Family<prometheus::Histogram>& seconds_;
  const base::Clock* const clock_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_CALL_INTERCEPTOR_H_
