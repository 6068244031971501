// Names of resources as the API spells them (conventions in qzo/v1/common.proto). Pure. All errors are INVALID_ARGUMENT
// with a violation of `field` that says what a good name looks like.
#ifndef QZO_SERVER_RESOURCE_NAMES_H_
#define QZO_SERVER_RESOURCE_NAMES_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store.h"

namespace qzo::server {

inline constexpr char kJobKind[] = "job";
inline constexpr char kDatasetKind[] = "dataset";
inline constexpr char kModelKind[] = "model";
inline constexpr char kAdapterKind[] = "adapter";
inline constexpr char kTokenKind[] = "token";

absl::Status CheckId(std::string_view field, std::string_view id);

// "projects/p/jobs/j" → {"job", "p", "j"}. The project of a token may be "-": every project.
absl::StatusOr<ResourceKey> ParseName(std::string_view kind, std::string_view field, std::string_view name);
std::string NameOf(const ResourceKey& key);

// "projects/p" → "p".
absl::StatusOr<std::string> ParseParent(std::string_view parent);
// As ParseParent; "projects/-" → "", which stands for all projects.
absl::StatusOr<std::string> ParseListParent(std::string_view parent);

// "workers/w" → "w".
absl::StatusOr<std::string> ParseWorker(std::string_view name);

// `prefix` and ten random letters and digits.
std::string RandomId(std::string_view prefix);
// An id as like `text` as ids can be ("SmolLM2 135M" → "smollm2-135m"); `prefix` goes before one that begins with a
// digit.
std::string IdFrom(std::string_view text, std::string_view prefix);

}  // namespace qzo::server

#endif  // QZO_SERVER_RESOURCE_NAMES_H_
