// Who may call what: one table for every method of the API. Pure.
#ifndef QZO_SERVER_ACCESS_RULES_H_
#define QZO_SERVER_ACCESS_RULES_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "qzo/v1/token.pb.h"
#include "server/tokens.h"

namespace qzo::server {

struct AccessRule {
  std::string_view method;                  // qzo.v1.JobService.GetJob
  v1::Token::Role role = v1::Token::ADMIN;  // that the caller must have
  // Path of the request's field that names a project, or something of a project. "" = the call is about the server:
  // beyond VIEWER it needs a role in every project.
  std::string_view where = {};
  bool changes = false;  // something: such calls are in the audit log
  // Fields that may name resources, which the caller must be able to see.
  std::vector<std::string_view> references = {};
};

absl::Span<const AccessRule> AccessRules();

// The rule of the method that takes such a request; nullptr when there is none. No two methods share a request.
const AccessRule* RuleOf(const google::protobuf::Descriptor* request);

// Whether the caller's role is enough, whatever the project. PERMISSION_DENIED.
absl::Status CheckRole(const AccessRule& rule, const Identity& caller);

// Whether what the request is about is within the caller's projects. NOT_FOUND for a resource that is not, as for one
// that is not there; PERMISSION_DENIED for a whole project; INVALID_ARGUMENT for what is no name. `request` is the
// method's, or the header of an upload.
absl::Status CheckProjects(const AccessRule& rule, const Identity& caller, const google::protobuf::Message& request);

// The value of rule.where.
std::string ResourceOf(const AccessRule& rule, const google::protobuf::Message& request);

}  // namespace qzo::server

#endif  // QZO_SERVER_ACCESS_RULES_H_
