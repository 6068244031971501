// DatasetService (qzo/v1/dataset.proto). Thread-safe.
#ifndef QZO_SERVER_DATASET_SERVICE_H_
#define QZO_SERVER_DATASET_SERVICE_H_

#include "qzo/v1/dataset.grpc.pb.h"
#include "server/backend.h"

namespace qzo::server {

class DatasetService final : public v1::DatasetService::CallbackService {
 public:
  explicit DatasetService(const Backend& backend) : backend_(backend) {}

  grpc::ServerReadReactor<v1::CreateDatasetRequest>* CreateDataset(grpc::CallbackServerContext* context,
                                                                   v1::Dataset* response) override;
  grpc::ServerUnaryReactor* GetDataset(grpc::CallbackServerContext* context, const v1::GetDatasetRequest* request,
                                       v1::Dataset* response) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* context, const v1::ListDatasetsRequest* request,
                                         v1::ListDatasetsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteDataset(grpc::CallbackServerContext* context, const v1::DeleteDatasetRequest* request,
                                          google::protobuf::Empty* response) override;

 private:
  const Backend backend_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_DATASET_SERVICE_H_
