// ModelService (qzo/v1/model.proto). Thread-safe.
#ifndef QZO_SERVER_MODEL_SERVICE_H_
#define QZO_SERVER_MODEL_SERVICE_H_

#include "qzo/v1/model.grpc.pb.h"
#include "server/backend.h"

namespace qzo::server {

class ModelService final : public v1::ModelService::CallbackService {
 public:
  explicit ModelService(const Backend& backend) : backend_(backend) {}

  grpc::ServerReadReactor<v1::CreateModelRequest>* CreateModel(grpc::CallbackServerContext* context,
                                                               v1::Model* response) override;
  grpc::ServerUnaryReactor* FindMissingFiles(grpc::CallbackServerContext* context,
                                             const v1::FindMissingFilesRequest* request,
                                             v1::FindMissingFilesResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::Model* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteModel(grpc::CallbackServerContext* context, const v1::DeleteModelRequest* request,
                                        google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<v1::Chunk>* DownloadModel(grpc::CallbackServerContext* context,
                                                     const v1::DownloadModelRequest* request) override;

 private:
  const Backend backend_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_MODEL_SERVICE_H_
