#include "server/audit_service.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/errors.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/unary.h"

namespace qzo::server {
namespace {

// Years 1 to 9999, as of google.protobuf.Timestamp.
constexpr int64_t kFirstSecond = -62'135'596'800;
constexpr int64_t kLastSecond = 253'402'300'799;

v1::AuditRecord ToProto(const StoredAudit& stored) {
  v1::AuditRecord record;
  record.set_sequence(stored.sequence);
  *record.mutable_time() = ToTimestamp(stored.time);
  record.set_caller(stored.caller);
  record.set_peer(stored.peer);
  record.set_method(stored.method);
  record.set_resource(stored.resource);
  record.set_code(stored.code);
  record.set_reason(stored.reason);
  return record;
}

absl::StatusOr<absl::Time> ToTime(std::string_view field, const google::protobuf::Timestamp& time) {
  if (time.seconds() < kFirstSecond || time.seconds() > kLastSecond || time.nanos() < 0 || time.nanos() > 999'999'999) {
    return InvalidField(field, "not a time of the years 1 to 9999");
  }
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

}  // namespace

grpc::ServerUnaryReactor* AuditService::ListAuditRecords(grpc::CallbackServerContext* context,
                                                         const v1::ListAuditRecordsRequest* request,
                                                         v1::ListAuditRecordsResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request] { return List(*request); });
}

absl::StatusOr<v1::ListAuditRecordsResponse> AuditService::List(const v1::ListAuditRecordsRequest& request) {
  AuditQuery query;
  QZO_ASSIGN_OR_RETURN(query.project, ParseListParent(request.parent()));
  QZO_ASSIGN_OR_RETURN(const int size, PageSize(request.page_size()));
  query.limit = size + 1;  // one more tells whether there is a next page
  if (!request.page_token().empty()) {
    QZO_ASSIGN_OR_RETURN(const std::string position, DecodePageToken(request.page_token()));
    if (!absl::SimpleAtoi(position, &query.before))
      return InvalidField("page_token", "not a token of an earlier answer");
  }
  query.caller = request.caller();
  query.method = request.method();
  query.resource = request.resource();
  query.code = request.code();
  if (request.has_start_time()) {
    QZO_ASSIGN_OR_RETURN(query.from, ToTime("start_time", request.start_time()));
  }
  if (request.has_end_time()) {
    QZO_ASSIGN_OR_RETURN(query.to, ToTime("end_time", request.end_time()));
  }
  QZO_ASSIGN_OR_RETURN(const std::vector<StoredAudit> records, backend_.store->ListAudit(query));
  v1::ListAuditRecordsResponse response;
  for (const StoredAudit& record : records) {
    if (response.records_size() == size) {
      response.set_next_page_token(EncodePageToken(absl::StrCat(response.records(size - 1).sequence())));
      break;
    }
    *response.add_records() = ToProto(record);
  }
  return response;
}

}  // namespace qzo::server
