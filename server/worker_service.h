// WorkerService (qzo/v1/worker.proto): what users see of workers. Thread-safe.
#ifndef QZO_SERVER_WORKER_SERVICE_H_
#define QZO_SERVER_WORKER_SERVICE_H_

#include "qzo/v1/worker.grpc.pb.h"
#include "server/backend.h"

namespace qzo::server {

class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  explicit WorkerService(const Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* GetWorker(grpc::CallbackServerContext* context, const v1::GetWorkerRequest* request,
                                      v1::Worker* response) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* DrainWorker(grpc::CallbackServerContext* context, const v1::DrainWorkerRequest* request,
                                        v1::Worker* response) override;

 private:
  const Backend backend_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_WORKER_SERVICE_H_
