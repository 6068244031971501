// TokenService (qzo/v1/token.proto): checks requests, keeps tokens in the store and in memory. Thread-safe.
#ifndef QZO_SERVER_TOKEN_SERVICE_H_
#define QZO_SERVER_TOKEN_SERVICE_H_

#include "absl/status/statusor.h"
#include "qzo/v1/token.grpc.pb.h"
#include "server/backend.h"

namespace qzo::server {

class TokenService final : public v1::TokenService::CallbackService {
 public:
  explicit TokenService(const Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* CreateToken(grpc::CallbackServerContext* context, const v1::CreateTokenRequest* request,
                                        v1::CreateTokenResponse* response) override;
  grpc::ServerUnaryReactor* GetToken(grpc::CallbackServerContext* context, const v1::GetTokenRequest* request,
                                     v1::Token* response) override;
  grpc::ServerUnaryReactor* ListTokens(grpc::CallbackServerContext* context, const v1::ListTokensRequest* request,
                                       v1::ListTokensResponse* response) override;
  grpc::ServerUnaryReactor* RevokeToken(grpc::CallbackServerContext* context, const v1::RevokeTokenRequest* request,
                                        google::protobuf::Empty* response) override;

 private:
  absl::StatusOr<v1::CreateTokenResponse> Create(const v1::CreateTokenRequest& request);
  absl::Status Revoke(const std::string& name);

  const Backend backend_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_TOKEN_SERVICE_H_
