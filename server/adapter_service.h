// AdapterService (qzo/v1/adapter.proto). Thread-safe.
#ifndef QZO_SERVER_ADAPTER_SERVICE_H_
#define QZO_SERVER_ADAPTER_SERVICE_H_

#include <string>

#include "absl/status/statusor.h"
#include "qzo/v1/adapter.grpc.pb.h"
#include "server/backend.h"
#include "server/download_reactor.h"

namespace qzo::server {

class AdapterService final : public v1::AdapterService::CallbackService {
 public:
  explicit AdapterService(const Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* GetAdapter(grpc::CallbackServerContext* context, const v1::GetAdapterRequest* request,
                                       v1::Adapter* response) override;
  grpc::ServerUnaryReactor* ListAdapters(grpc::CallbackServerContext* context, const v1::ListAdaptersRequest* request,
                                         v1::ListAdaptersResponse* response) override;
  grpc::ServerUnaryReactor* DeleteAdapter(grpc::CallbackServerContext* context, const v1::DeleteAdapterRequest* request,
                                          google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<v1::Chunk>* DownloadAdapter(grpc::CallbackServerContext* context,
                                                       const v1::DownloadAdapterRequest* request) override;

 private:
  absl::StatusOr<Payload> OfAdapter(const v1::DownloadAdapterRequest& request);
  absl::StatusOr<Payload> OfJob(const v1::DownloadAdapterRequest& request);

  const Backend backend_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_ADAPTER_SERVICE_H_
