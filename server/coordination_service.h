// Coordination (qzo/v1/worker.proto): the workers' side. Thread-safe.
#ifndef QZO_SERVER_COORDINATION_SERVICE_H_
#define QZO_SERVER_COORDINATION_SERVICE_H_

#include "qzo/v1/worker.grpc.pb.h"
#include "server/backend.h"

namespace qzo::server {

class CoordinationService final : public v1::Coordination::CallbackService {
 public:
  explicit CoordinationService(const Backend& backend) : backend_(backend) {}

  grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* Work(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::Chunk>* FetchBlob(grpc::CallbackServerContext* context,
                                                 const v1::FetchBlobRequest* request) override;
  grpc::ServerReadReactor<v1::PutSnapshotRequest>* PutSnapshot(grpc::CallbackServerContext* context,
                                                               v1::PutSnapshotResponse* response) override;

 private:
  const Backend backend_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_COORDINATION_SERVICE_H_
