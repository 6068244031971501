#include "server/access.h"

#include <grpc/grpc_security_constants.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "proto/grpc_status.h"

namespace qzo::server {
namespace {

constexpr double kBurstSeconds = 4;
constexpr size_t kUsageKept = 10'000;
constexpr char kAsWorker[] = " as worker";

// Workers are counted apart from others with the same token.
std::string UsageName(const Identity& caller, const AccessRule& rule) {
  return absl::StrCat(caller.name, rule.role == v1::Token::WORKER ? kAsWorker : "");
}

absl::Status Unauthenticated(std::string_view text, std::string_view reason) {
  return rpc::WithReason(absl::UnauthenticatedError(base::ToAbsl(text)), reason);
}

absl::Status CheckExpiry(const Identity& caller, absl::Time now) {
  if (now < caller.expires) return absl::OkStatus();
  return Unauthenticated(absl::StrCat(caller.name, " has expired"), "TOKEN_EXPIRED");
}

// "ipv4:10.0.0.1:4711" without the port, which changes with every connection.
std::string Host(const std::string& peer) {
  return absl::StartsWith(peer, "unix:") ? peer : peer.substr(0, peer.rfind(':'));
}

std::optional<std::string> BearerToken(const grpc::CallbackServerContext& context) {
  const auto header = context.client_metadata().find("authorization");
  if (header == context.client_metadata().end()) return std::nullopt;
  const absl::string_view value(header->second.data(), header->second.size());
  constexpr size_t kSchemeBytes = 7;
  if (!absl::StartsWithIgnoreCase(value, "bearer ")) return "";
  return std::string(absl::StripAsciiWhitespace(value.substr(kSchemeBytes)));
}

// The identity that a certificate's URI gives; nullopt when it speaks of something else.
std::optional<Identity> OfCertificate(const grpc::AuthContext& context) {
  if (!context.IsPeerAuthenticated()) return std::nullopt;
  for (const grpc::string_ref& uri : context.FindPropertyValues(GRPC_PEER_SPIFFE_ID_PROPERTY_NAME)) {
    const std::string name(uri.data(), uri.size());
    const std::vector<std::string> parts = absl::StrSplit(name, '/');  // spiffe: "" domain qzo role [project]
    Identity identity{name, v1::Token::ROLE_UNSPECIFIED, kEveryProject};
    if (parts.size() < 5 || parts.size() > 6 || parts[3] != "qzo" ||
        !v1::Token::Role_Parse(absl::AsciiStrToUpper(parts[4]), &identity.role)) {
      continue;
    }
    if (parts.size() == 6) identity.project = parts[5];
    return identity;
  }
  return std::nullopt;
}

// The error's code and reason, not its message: that may repeat what was sent, rows of a dataset say.
StoredAudit AuditRecord(const std::string& caller, const std::string& peer, const AccessRule& rule,
                        const std::string& resource, const absl::Status& outcome) {
  StoredAudit record;
  record.caller = caller;
  record.peer = peer;
  record.method = std::string(rule.method);
  record.resource = resource;
  record.code = absl::StatusCodeToString(outcome.code());
  if (!outcome.ok()) record.reason = rpc::ReasonOf(outcome);
  return record;
}

}  // namespace

absl::StatusOr<Identity> Access::Identify(const grpc::CallbackServerContext& context) const {
  if (const std::optional<std::string> secret = BearerToken(context)) {
    std::optional<Identity> identity = tokens_->Find(*secret);
    if (!identity) return Unauthenticated("the token is not known here, or was revoked", "BAD_TOKEN");
    QZO_RETURN_IF_ERROR(CheckExpiry(*identity, clock_->Now()));
    return *std::move(identity);
  }
  if (std::optional<Identity> identity = OfCertificate(*context.auth_context())) return *identity;
  if (!options_.required) return Identity{"anonymous", v1::Token::ADMIN, kEveryProject};
  return Unauthenticated(
      "no credentials came: expected a bearer token (--token-file, QZO_TOKEN_FILE) or a certificate "
      "whose URI is spiffe://…/qzo/{role}",
      "NO_CREDENTIALS");
}

absl::StatusOr<std::shared_ptr<Admission>> Access::Admit(grpc::CallbackServerContext* context,
                                                         const google::protobuf::Descriptor* type,
                                                         const google::protobuf::Message* request) {
  const AccessRule* const rule = RuleOf(type);
  if (rule == nullptr) return absl::PermissionDeniedError("no rule says who may call this");
  const std::string peer = Host(context->peer());
  const auto refuse = [&](const std::string& caller, const absl::Status& status) {
    if (rule->changes) {
      const std::string resource = request == nullptr ? "" : ResourceOf(*rule, *request);
      audit_->Add(AuditRecord(caller, peer, *rule, resource, status));
    }
    return status;
  };
  absl::StatusOr<Identity> identity = Identify(*context);
  if (!identity.ok()) return refuse("", identity.status());
  const std::string name = identity->name;
  absl::Status allowed = CheckRole(*rule, *identity);
  if (allowed.ok() && request != nullptr) allowed = CheckProjects(*rule, *identity, *request);
  if (!allowed.ok()) return refuse(name, allowed);
  auto admission = std::make_shared<Admission>(this, *std::move(identity), rule, peer);
  if (request != nullptr) admission->resource_ = ResourceOf(*rule, *request);
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(std::string(rule->method));
  if (request != nullptr) admission->bytes_ = request->ByteSizeLong();
  if (method->client_streaming() || method->server_streaming()) admission->bytes_ += kStreamBytes;
  if (const absl::Status begun = Begin(admission->caller_, *rule, admission->bytes_); !begun.ok()) {
    admission->Note(begun);
    return begun;
  }
  admission->begun_ = true;
  return admission;
}

absl::Status Access::Begin(const Identity& caller, const AccessRule& rule, uint64_t bytes) {
  const int share = rule.role == v1::Token::WORKER ? kWorkerShare : 1;
  const double rate = options_.calls_per_second * share;
  const int open = options_.open_calls * share;
  const uint64_t open_bytes = options_.open_bytes * static_cast<uint64_t>(share);
  const absl::Duration now = clock_->Monotonic();
  base::MutexLock lock(&mu_);
  // Names are few, but whoever issues certificates can make many.
  if (usage_.size() > kUsageKept) std::erase_if(usage_, [](const auto& entry) { return entry.second.open == 0; });
  const auto [entry, is_new] = usage_.try_emplace(UsageName(caller, rule));
  Usage& usage = entry->second;
  if (is_new) usage.allowance = rate * kBurstSeconds;
  usage.allowance = std::min(rate * kBurstSeconds,
                             usage.allowance + rate * absl::ToDoubleSeconds(now - std::exchange(usage.at, now)));
  if (rate > 0 && usage.allowance < 1) {
    const absl::Duration wait = absl::Seconds((1 - usage.allowance) / rate);
    return rpc::WithRetryDelay(rpc::WithReason(absl::ResourceExhaustedError(absl::StrCat(
                                                   caller.name, " makes more than ", rate, " calls a second")),
                                               "TOO_MANY_CALLS"),
                               wait);
  }
  if (open > 0 && usage.open >= open) {
    return rpc::WithRetryDelay(
        rpc::WithReason(absl::ResourceExhaustedError(absl::StrCat(caller.name, " has ", usage.open, " calls open")),
                        "TOO_MANY_OPEN_CALLS"),
        absl::Seconds(1));
  }
  if (open_bytes > 0 && usage.bytes + bytes > open_bytes) {
    return rpc::WithRetryDelay(
        rpc::WithReason(absl::ResourceExhaustedError(absl::StrCat(caller.name, " has ", base::HumanBytes(usage.bytes),
                                                                  " in calls that are open, and may have ",
                                                                  base::HumanBytes(open_bytes))),
                        "TOO_MANY_BYTES"),
        absl::Seconds(1));
  }
  usage.allowance -= 1;
  ++usage.open;
  usage.bytes += bytes;
  return absl::OkStatus();
}

void Access::End(const Identity& caller, const AccessRule& rule, uint64_t bytes) {
  base::MutexLock lock(&mu_);
  Usage& usage = usage_.at(UsageName(caller, rule));
  --usage.open;
  usage.bytes -= bytes;
}

void Access::Revoke(const std::string& token) {
  tokens_->Remove(token);
  CheckStreams();
}

// Certificates count when a connection is made: there is nothing to look up later.
void Access::CheckStreams() {
  streams_->Check([this](const Identity& caller) {
    if (caller.secret_sha256.empty()) return absl::OkStatus();
    const std::optional<Identity> known = tokens_->FindByHash(caller.secret_sha256);
    if (!known) return Unauthenticated(absl::StrCat(caller.name, " was revoked"), "TOKEN_REVOKED");
    return CheckExpiry(*known, clock_->Now());
  });
}

Admission::~Admission() {
  if (begun_) access_->End(caller_, *rule_, bytes_);
  if (rule_->changes && !recorded_) access_->audit_->Add(Record());
}

StoredAudit Admission::Record() const { return AuditRecord(caller_.name, peer_, *rule_, resource_, outcome_); }

absl::Status Admission::CheckHeader(const google::protobuf::Message& header) {
  resource_ = ResourceOf(*rule_, header);
  return CheckProjects(*rule_, caller_, header);
}

void Admission::Conclude(const absl::Status& outcome, const google::protobuf::Message& response) {
  outcome_ = outcome;
  if (!outcome.ok() || !rule_->changes) return;
  const google::protobuf::Message* made = &response;
  if (const auto* token = dynamic_cast<const v1::CreateTokenResponse*>(made)) made = &token->token();
  const google::protobuf::FieldDescriptor* name = made->GetDescriptor()->FindFieldByName("name");
  if (name != nullptr) resource_ = made->GetReflection()->GetString(*made, name);
  access_->audit_->AddDurably(Record());
  recorded_ = true;
}

}  // namespace qzo::server
