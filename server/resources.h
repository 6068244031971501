// Resources in the store as services see them: by name, in pages, created once per request_id. Thread-safe as the store
// is.
#ifndef QZO_SERVER_RESOURCES_H_
#define QZO_SERVER_RESOURCES_H_

#include <google/protobuf/timestamp.pb.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/store.h"

namespace qzo::server {

// INVALID_ARGUMENT for a malformed name, of which `field` is shown; NOT_FOUND.
absl::StatusOr<StoredResource> FindResource(Store* store, std::string_view kind, std::string_view field,
                                            const std::string& name);

// DATA_LOSS when the body is not such a message.
template <typename Message>
absl::StatusOr<Message> ParseBody(const StoredResource& resource) {
  Message message;
  if (message.ParseFromString(resource.body)) return message;
  return absl::DataLossError(absl::StrCat("the stored ", resource.key.kind, " ", resource.key.id, " is damaged"));
}

template <typename Message>
absl::StatusOr<Message> GetMessage(Store* store, std::string_view kind, std::string_view field,
                                   const std::string& name) {
  QZO_ASSIGN_OR_RETURN(const StoredResource resource, FindResource(store, kind, field, name));
  return ParseBody<Message>(resource);
}

// 0 means 50, more than 1000 means 1000; INVALID_ARGUMENT for a negative one.
absl::StatusOr<int> PageSize(int32_t requested);
// Opaque to clients. INVALID_ARGUMENT for one that was not made by EncodePageToken.
std::string EncodePageToken(std::string_view position);
absl::StatusOr<std::string> DecodePageToken(const std::string& token);

struct ResourcePage {
  std::vector<StoredResource> resources;
  std::string next_page_token;
};
// Newest first. `parent` may be "projects/-".
absl::StatusOr<ResourcePage> ListResources(Store* store, std::string_view kind, const std::string& parent,
                                           int32_t page_size, const std::string& page_token,
                                           std::vector<int32_t> states = {});

// A resource that comes into being now; its uid begins with its kind's first letter.
StoredResource NewResource(ResourceKey key, absl::Time now);
// The resource that an earlier request with this id made; NOT_FOUND when there is none.
absl::StatusOr<StoredResource> ResourceOfRequest(Store* store, std::string_view kind, const std::string& project,
                                                 const std::string& request_id);
// Stores `resource` durably and returns it, or what an earlier request with the same id made. ALREADY_EXISTS when the
// name is taken otherwise.
absl::StatusOr<StoredResource> CreateOnce(Store* store, const StoredResource& resource, const std::string& request_id);

// INVALID_ARGUMENT for one that is too long.
absl::Status CheckRequestId(const std::string& request_id);

google::protobuf::Timestamp ToTimestamp(absl::Time time);

}  // namespace qzo::server

#endif  // QZO_SERVER_RESOURCES_H_
