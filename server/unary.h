// Unary calls answered on an executor.
#ifndef QZO_SERVER_UNARY_H_
#define QZO_SERVER_UNARY_H_

#include <google/protobuf/empty.pb.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "absl/status/statusor.h"
#include "proto/grpc_status.h"
#include "server/executor.h"

namespace qzo::server {

// `work` returns absl::StatusOr<Response>; it and what it refers to (the request, the service) live until it has
// returned.
template <typename Response, typename Work>
grpc::ServerUnaryReactor* AnswerOn(Executor* executor, grpc::CallbackServerContext* context, Response* response,
                                   Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  executor->Run([reactor, response, work = std::move(work)] {
    absl::StatusOr<Response> result = work();
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(rpc::ToGrpc(result.status()));
  });
  return reactor;
}

}  // namespace qzo::server

#endif  // QZO_SERVER_UNARY_H_
