// Unary calls: admitted, then answered on an executor.
#ifndef QZO_SERVER_UNARY_H_
#define QZO_SERVER_UNARY_H_

#include <google/protobuf/empty.pb.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "proto/grpc_status.h"
#include "server/backend.h"

namespace qzo::server {

// `work` takes nothing or the caller's Identity and returns absl::StatusOr<Response>; it and what it refers to (the
// request, the service) live until it has returned.
template <typename Request, typename Response, typename Work>
grpc::ServerUnaryReactor* AnswerOn(const Backend& backend, Executor* executor, grpc::CallbackServerContext* context,
                                   const Request* request, Response* response, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<std::shared_ptr<Admission>> admitted = backend.access->Admit(context, Request::descriptor(), request);
  if (!admitted.ok()) {
    reactor->Finish(rpc::ToGrpc(admitted.status()));
    return reactor;
  }
  executor->Run([reactor, response, admission = *std::move(admitted), work = std::move(work)]() mutable {
    absl::StatusOr<Response> result = [&] {
      if constexpr (std::is_invocable_v<Work, const Identity&>) {
        return work(admission->caller());
      } else {
        return work();
      }
    }();
    const absl::Status status = result.status();
    if (status.ok()) *response = std::move(*result);
    admission->Conclude(status, *response);
    admission.reset();  // before the context goes
    reactor->Finish(rpc::ToGrpc(status));
  });
  return reactor;
}

// On backend.calls.
template <typename Request, typename Response, typename Work>
grpc::ServerUnaryReactor* AnswerOn(const Backend& backend, grpc::CallbackServerContext* context, const Request* request,
                                   Response* response, Work work) {
  return AnswerOn(backend, backend.calls, context, request, response, std::move(work));
}

}  // namespace qzo::server

#endif  // QZO_SERVER_UNARY_H_
