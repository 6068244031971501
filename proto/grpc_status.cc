#include "proto/grpc_status.h"

#include <google/protobuf/util/time_util.h>

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/text.h"

namespace qzo::rpc {
namespace {

constexpr char kTypePrefix[] = "type.googleapis.com/";

// Errors travel in HTTP/2 trailers, of which gRPC clients accept 8 KiB by default; text is there once as the message
// and once, base64-coded, in the details.
constexpr size_t kLongestText = 400;
constexpr size_t kViolationBytes = 2500;

std::string Shortened(absl::string_view text) {
  if (text.size() <= kLongestText) return std::string(text);
  size_t end = kLongestText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a character
  return absl::StrCat(text.substr(0, end), "…");
}

template <typename Message>
std::string TypeUrl() {
  return kTypePrefix + std::string(Message::descriptor()->full_name());
}

template <typename Message>
absl::Status WithDetail(absl::Status status, const Message& message) {
  status.SetPayload(TypeUrl<Message>(), absl::Cord(message.SerializeAsString()));
  return status;
}

template <typename Message>
std::optional<Message> DetailOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(TypeUrl<Message>());
  Message message;
  if (!payload || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

}  // namespace

absl::Status WithReason(absl::Status status, std::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain("qzo.dev");
  return WithDetail(std::move(status), info);
}

std::string ReasonOf(const absl::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  return info ? info->reason() : "";
}

absl::Status WithBadRequest(const absl::Status& status, const google::rpc::BadRequest& details) {
  google::rpc::BadRequest fitting;
  for (int i = 0; i < details.field_violations_size(); ++i) {
    google::rpc::BadRequest::FieldViolation violation = details.field_violations(i);
    violation.set_description(Shortened(violation.description()));
    if (fitting.ByteSizeLong() + violation.ByteSizeLong() > kViolationBytes) {
      fitting.add_field_violations()->set_description(
          absl::StrCat("and ", details.field_violations_size() - i, " more"));
      break;
    }
    *fitting.add_field_violations() = std::move(violation);
  }
  absl::Status fitted(status.code(), Shortened(status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { fitted.SetPayload(url, payload); });
  return WithDetail(std::move(fitted), fitting);
}

absl::Status WithResource(absl::Status status, std::string_view type, std::string_view name) {
  google::rpc::ResourceInfo info;
  info.set_resource_type(std::string(type));
  info.set_resource_name(std::string(name));
  return WithDetail(std::move(status), info);
}

absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  google::rpc::RetryInfo info;
  *info.mutable_retry_delay() =
      google::protobuf::util::TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(delay));
  return WithDetail(std::move(status), info);
}

std::optional<absl::Duration> RetryDelayOf(const absl::Status& status) {
  const auto info = DetailOf<google::rpc::RetryInfo>(status);
  if (!info) return std::nullopt;
  return absl::Seconds(info->retry_delay().seconds()) + absl::Nanoseconds(info->retry_delay().nanos());
}

std::optional<google::rpc::BadRequest> BadRequestOf(const absl::Status& status) {
  return DetailOf<google::rpc::BadRequest>(status);
}

absl::Status ViolationsFromLines(const absl::Status& status, std::string_view reason) {
  google::rpc::BadRequest details;
  for (const absl::string_view line : absl::StrSplit(status.message(), '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(": ", 1));
    auto* violation = details.add_field_violations();
    violation->set_field(parts.second.empty() ? "" : std::string(parts.first));
    violation->set_description(std::string(parts.second.empty() ? parts.first : parts.second));
  }
  return WithReason(WithBadRequest(status, details), reason);
}

google::rpc::Status ToProto(const absl::Status& status) {
  google::rpc::Status proto;
  proto.set_code(static_cast<int>(status.code()));
  proto.set_message(std::string(status.message()));
  if (status.ok()) return proto;
  const absl::Status full =
      ReasonOf(status).empty() ? WithReason(status, absl::StatusCodeToString(status.code())) : status;
  full.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    auto* detail = proto.add_details();
    detail->set_type_url(std::string(url));
    detail->set_value(std::string(payload));
  });
  return proto;
}

absl::Status FromProto(const google::rpc::Status& proto) {
  if (proto.code() == 0) return absl::OkStatus();
  absl::Status status(static_cast<absl::StatusCode>(proto.code()), proto.message());
  for (const auto& detail : proto.details()) status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  return status;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
          ToProto(status).SerializeAsString()};
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status proto;
  if (!status.error_details().empty() && proto.ParseFromString(status.error_details()) &&
      proto.code() == static_cast<int>(status.error_code())) {
    return FromProto(proto);
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace qzo::rpc
