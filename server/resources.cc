#include "server/resources.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/text.h"
#include "server/errors.h"
#include "server/resource_names.h"

namespace qzo::server {
namespace {

constexpr size_t kMaxRequestIdBytes = 64;
constexpr char kTokenMark = 'q';  // tells our tokens from other base64

}  // namespace

absl::StatusOr<StoredResource> FindResource(Store* store, std::string_view kind, std::string_view field,
                                            const std::string& name) {
  QZO_ASSIGN_OR_RETURN(const ResourceKey key, ParseName(kind, field, name));
  absl::StatusOr<StoredResource> resource = store->Get(key);
  if (absl::IsNotFound(resource.status())) return NoSuch(kind, name);
  return resource;
}

absl::StatusOr<int> PageSize(int32_t requested) {
  if (requested < 0) return InvalidField("page_size", absl::StrCat(requested, ", expected 0 or more"));
  return requested == 0 ? 50 : std::min(requested, 1000);
}

std::string EncodePageToken(std::string_view position) {
  return absl::WebSafeBase64Escape(absl::StrCat(std::string(1, kTokenMark), base::ToAbsl(position)));
}

absl::StatusOr<std::string> DecodePageToken(const std::string& token) {
  std::string position;
  if (!absl::WebSafeBase64Unescape(token, &position) || position.empty() || position.front() != kTokenMark) {
    return InvalidField("page_token", "not a token of an earlier answer");
  }
  return position.substr(1);
}

absl::StatusOr<ResourcePage> ListResources(Store* store, std::string_view kind, const std::string& parent,
                                           int32_t page_size, const std::string& page_token,
                                           std::vector<int32_t> states) {
  ListQuery query;
  query.kind = kind;
  query.states = std::move(states);
  QZO_ASSIGN_OR_RETURN(query.project, ParseListParent(parent));
  QZO_ASSIGN_OR_RETURN(const int size, PageSize(page_size));
  query.limit = size + 1;  // one more tells whether there is a next page
  if (!page_token.empty()) {
    QZO_ASSIGN_OR_RETURN(const std::string position, DecodePageToken(page_token));
    const std::pair<std::string, std::string> parts = absl::StrSplit(position, absl::MaxSplits(':', 1));
    int64_t nanos = 0;
    if (!absl::SimpleAtoi(parts.first, &nanos)) return InvalidField("page_token", "not a token of an earlier answer");
    query.before_time = absl::FromUnixNanos(nanos);
    query.before_uid = parts.second;
  }
  ResourcePage page;
  QZO_ASSIGN_OR_RETURN(page.resources, store->List(query));
  if (page.resources.size() > static_cast<size_t>(size)) {
    page.resources.resize(static_cast<size_t>(size));
    const StoredResource& last = page.resources.back();
    page.next_page_token = EncodePageToken(absl::StrCat(absl::ToUnixNanos(last.create_time), ":", last.uid));
  }
  return page;
}

StoredResource NewResource(ResourceKey key, absl::Time now) {
  StoredResource resource;
  resource.uid = RandomId(key.kind.substr(0, 1));
  resource.key = std::move(key);
  resource.create_time = now;
  resource.update_time = now;
  return resource;
}

absl::StatusOr<StoredResource> ResourceOfRequest(Store* store, std::string_view kind, const std::string& project,
                                                 const std::string& request_id) {
  if (request_id.empty()) return absl::NotFoundError("no request id");
  QZO_ASSIGN_OR_RETURN(const std::optional<std::string> uid, store->ResourceOfRequest(kind, project, request_id));
  if (!uid) return absl::NotFoundError("a new request id");
  return store->GetByUid(*uid);
}

absl::StatusOr<StoredResource> CreateOnce(Store* store, const StoredResource& resource, const std::string& request_id) {
  const absl::Status status = store->Write({CreateResource{resource, request_id}});
  if (status.ok()) return resource;
  if (!absl::IsAlreadyExists(status)) return status;
  absl::StatusOr<StoredResource> earlier =
      ResourceOfRequest(store, resource.key.kind, resource.key.project, request_id);
  if (absl::IsNotFound(earlier.status())) return Exists(resource.key.kind, NameOf(resource.key));
  return earlier;
}

absl::Status CheckRequestId(const std::string& request_id) {
  if (request_id.size() <= kMaxRequestIdBytes) return absl::OkStatus();
  return InvalidField("request_id",
                      absl::StrCat(request_id.size(), " characters, expected at most ", kMaxRequestIdBytes));
}

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(time));
}

}  // namespace qzo::server
