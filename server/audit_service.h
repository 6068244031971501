// AuditService (qzo/v1/audit.proto): reads the store's audit records. Thread-safe.
#ifndef QZO_SERVER_AUDIT_SERVICE_H_
#define QZO_SERVER_AUDIT_SERVICE_H_

#include "absl/status/statusor.h"
#include "qzo/v1/audit.grpc.pb.h"
#include "server/backend.h"

namespace qzo::server {

class AuditService final : public v1::AuditService::CallbackService {
 public:
  explicit AuditService(const Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* ListAuditRecords(grpc::CallbackServerContext* context,
                                             const v1::ListAuditRecordsRequest* request,
                                             v1::ListAuditRecordsResponse* response) override;

 private:
  absl::StatusOr<v1::ListAuditRecordsResponse> List(const v1::ListAuditRecordsRequest& request);

  const Backend backend_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_AUDIT_SERVICE_H_
