// InferenceService and Serving (qzo/v1/inference.proto): callers on one side, workers on the other, a router between
// them. Thread-safe.
#ifndef QZO_SERVER_INFERENCE_SERVICE_H_
#define QZO_SERVER_INFERENCE_SERVICE_H_

#include "qzo/v1/inference.grpc.pb.h"
#include "server/backend.h"
#include "server/inference_router.h"

namespace qzo::server {

class InferenceService final : public v1::InferenceService::CallbackService {
 public:
  // `router` must outlive the service.
  InferenceService(const Backend& backend, InferenceRouter* router) : backend_(backend), router_(router) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context, const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override;

 private:
  const Backend backend_;
  InferenceRouter* const router_;
};

class ServingService final : public v1::Serving::CallbackService {
 public:
  // `router` must outlive the service.
  ServingService(const Backend& backend, InferenceRouter* router) : backend_(backend), router_(router) {}

  grpc::ServerBidiReactor<v1::ServingMessage, v1::ServingRequest>* Serve(grpc::CallbackServerContext* context) override;

 private:
  const Backend backend_;
  InferenceRouter* const router_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_INFERENCE_SERVICE_H_
