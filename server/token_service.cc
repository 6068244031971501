#include "server/token_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status_macros.h"
#include "qzo/v1/stored.pb.h"
#include "server/errors.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/unary.h"

namespace qzo::server {
namespace {

constexpr size_t kMaxDisplayNameBytes = 256;

absl::Status CheckToken(const v1::Token& token, const std::string& project, absl::Time now) {
  if (token.role() == v1::Token::ROLE_UNSPECIFIED || !v1::Token::Role_IsValid(token.role())) {
    return InvalidField("token.role", "missing, expected VIEWER, SUBMITTER, ADMIN or WORKER");
  }
  if (token.role() == v1::Token::WORKER && project != kEveryProject) {
    return InvalidField("token.role", "WORKER, but workers serve every project: expected the parent projects/-");
  }
  if (token.has_expire_time() && absl::FromUnixSeconds(token.expire_time().seconds()) <= now) {
    return InvalidField("token.expire_time", "in the past");
  }
  if (token.display_name().size() > kMaxDisplayNameBytes) {
    return InvalidField("token.display_name",
                        absl::StrCat(token.display_name().size(), " bytes, expected at most ", kMaxDisplayNameBytes));
  }
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* TokenService::CreateToken(grpc::CallbackServerContext* context,
                                                    const v1::CreateTokenRequest* request,
                                                    v1::CreateTokenResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request] { return Create(*request); });
}

absl::StatusOr<v1::CreateTokenResponse> TokenService::Create(const v1::CreateTokenRequest& request) {
  QZO_ASSIGN_OR_RETURN(std::string project, ParseListParent(request.parent()));
  if (project.empty()) project = kEveryProject;
  if (!request.token_id().empty()) QZO_RETURN_IF_ERROR(CheckId("token_id", request.token_id()));
  QZO_RETURN_IF_ERROR(CheckToken(request.token(), project, backend_.clock->Now()));
  const std::string id = request.token_id().empty() ? RandomId("token-") : request.token_id();
  StoredResource resource = NewResource({kTokenKind, project, id}, backend_.clock->Now());
  v1::CreateTokenResponse response;
  response.set_secret(NewSecret());
  v1::Token& token = *response.mutable_token();
  token.set_name(NameOf(resource.key));
  token.set_uid(resource.uid);
  token.set_display_name(request.token().display_name());
  token.set_role(request.token().role());
  *token.mutable_create_time() = ToTimestamp(resource.create_time);
  if (request.token().has_expire_time()) *token.mutable_expire_time() = request.token().expire_time();
  v1::StoredToken stored;
  *stored.mutable_token() = token;
  stored.set_sha256(base::Sha256Hex(response.secret()));
  resource.body = stored.SerializeAsString();
  QZO_RETURN_IF_ERROR(CreateOnce(backend_.store, resource, "").status());
  backend_.access->tokens()->Add(stored.sha256(), IdentityOf(token, project));
  return response;
}

grpc::ServerUnaryReactor* TokenService::GetToken(grpc::CallbackServerContext* context,
                                                 const v1::GetTokenRequest* request, v1::Token* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<v1::Token> {
    QZO_ASSIGN_OR_RETURN(const auto stored,
                         GetMessage<v1::StoredToken>(backend_.store, kTokenKind, "name", request->name()));
    return stored.token();
  });
}

grpc::ServerUnaryReactor* TokenService::ListTokens(grpc::CallbackServerContext* context,
                                                   const v1::ListTokensRequest* request,
                                                   v1::ListTokensResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<v1::ListTokensResponse> {
    QZO_ASSIGN_OR_RETURN(const ResourcePage page, ListResources(backend_.store, kTokenKind, request->parent(),
                                                                request->page_size(), request->page_token()));
    v1::ListTokensResponse answer;
    for (const StoredResource& resource : page.resources) {
      QZO_ASSIGN_OR_RETURN(const auto stored, ParseBody<v1::StoredToken>(resource));
      *answer.add_tokens() = stored.token();
    }
    answer.set_next_page_token(page.next_page_token);
    return answer;
  });
}

grpc::ServerUnaryReactor* TokenService::RevokeToken(grpc::CallbackServerContext* context,
                                                    const v1::RevokeTokenRequest* request,
                                                    google::protobuf::Empty* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<google::protobuf::Empty> {
    QZO_RETURN_IF_ERROR(Revoke(request->name()));
    return google::protobuf::Empty();
  });
}

absl::Status TokenService::Revoke(const std::string& name) {
  QZO_ASSIGN_OR_RETURN(const StoredResource resource, FindResource(backend_.store, kTokenKind, "name", name));
  QZO_RETURN_IF_ERROR(backend_.store->Write({DeleteResource{resource.uid}}));
  backend_.access->Revoke(name);
  return absl::OkStatus();
}

}  // namespace qzo::server
