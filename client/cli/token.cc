// Verbs for tokens. A secret is shown once, or goes into a file that only its owner can read.
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/private_file.h"
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"

namespace qzo::client {
namespace {

std::string Parent(const Session& session, const TokenFlags& flags) {
  return flags.all_projects ? "projects/-" : session.parent();
}

std::string TokenName(const Session& session, const TokenFlags& flags, const std::string& name) {
  return absl::StrContains(name, '/') ? name : absl::StrCat(Parent(session, flags), "/tokens/", name);
}

}  // namespace

absl::StatusOr<int> CreateToken(Session& session, const TokenFlags& flags) {
  v1::CreateTokenRequest request;
  request.set_parent(Parent(session, flags));
  if (!flags.names.empty()) request.set_token_id(flags.names[0]);
  v1::Token::Role role = v1::Token::ROLE_UNSPECIFIED;
  v1::Token::Role_Parse(absl::AsciiStrToUpper(flags.role), &role);
  request.mutable_token()->set_role(role);
  request.mutable_token()->set_display_name(flags.display_name);
  if (flags.ttl_seconds > 0) {
    const absl::Time expires = session.now() + absl::Seconds(flags.ttl_seconds);
    request.mutable_token()->mutable_expire_time()->set_seconds(absl::ToUnixSeconds(expires));
  }
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_ASSIGN_OR_RETURN(const v1::CreateTokenResponse made, client->CreateToken(request));
  if (flags.file.empty()) {
    session.Note(absl::StrCat(made.token().name(), ": this is shown once"));
    session.out() << made.secret() << "\n";
    return kOk;
  }
  if (const absl::Status written = base::WritePrivately(flags.file, made.secret() + "\n"); !written.ok()) {
    QZO_RETURN_IF_ERROR(client->RevokeToken(made.token().name()));  // nobody will ever know its secret
    return written;
  }
  session.out() << made.token().name() << "\n";
  return kOk;
}

absl::StatusOr<int> GetTokens(Session& session, const TokenFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<v1::Token> tokens;
  if (flags.names.empty()) {
    QZO_ASSIGN_OR_RETURN(tokens, client->ListTokens(Parent(session, flags)));
  } else {
    QZO_ASSIGN_OR_RETURN(v1::Token token, client->GetToken(TokenName(session, flags, flags.names[0])));
    tokens.push_back(std::move(token));
  }
  const OutputFormat output = session.flags().output;
  if (output == OutputFormat::kJson || output == OutputFormat::kYaml) {
    v1::ListTokensResponse list;
    for (const v1::Token& token : tokens) *list.add_tokens() = token;
    session.PrintMessage(flags.names.empty() ? static_cast<const google::protobuf::Message&>(list) : tokens[0]);
  } else if (output == OutputFormat::kName) {
    for (const v1::Token& token : tokens) session.out() << token.name() << "\n";
  } else if (tokens.empty()) {
    session.Note("none found");
  } else {
    session.out() << TokenTable(tokens, output == OutputFormat::kWide, session.now()).Render();
  }
  return kOk;
}

absl::StatusOr<int> RevokeTokens(Session& session, const TokenFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  for (const std::string& name : flags.names) {
    const std::string full_name = TokenName(session, flags, name);
    QZO_RETURN_IF_ERROR(client->RevokeToken(full_name));
    session.out() << full_name << " revoked\n";
  }
  return kOk;
}

}  // namespace qzo::client
