#include "server/models.h"

#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "method/partition.h"
#include "server/resource_names.h"
#include "server/resources.h"

namespace qzo::server {
namespace {

constexpr size_t kIdDigits = 12;
constexpr int kPageSize = 1000;

absl::StatusOr<v1::Model> Describe(const Backend& backend, const std::string& digest) {
  QZO_ASSIGN_OR_RETURN(const std::shared_ptr<const LoadedModel> loaded, backend.models->Load(digest));
  const model::ModelInfo& info = loaded->info;
  v1::Model model;
  model.set_digest(digest);
  model.set_bytes(info.file_bytes);
  model.set_architecture(info.architecture);
  model.set_parameters(info.parameters);
  model.set_layers(info.layers);
  model.set_embedding_length(info.embedding_length);
  model.set_vocabulary(info.vocabulary);
  model.set_context_length(info.context_length);
  for (const auto& [type, count] : info.tensor_types) (*model.mutable_tensor_types())[type] = count;
  model.set_channel_multipliers(method::Partition(method::Granularity::kChannel, info.trained).multipliers());
  model.set_group_multipliers(method::Partition(method::Granularity::kGroup, info.trained).multipliers());
  return model;
}

}  // namespace

absl::StatusOr<v1::Model> RegisterModel(const Backend& backend, const NewModel& description,
                                        const std::string& digest) {
  QZO_ASSIGN_OR_RETURN(v1::Model model, Describe(backend, digest));
  const std::string id = description.id.empty() ? absl::StrCat("model-", digest.substr(0, kIdDigits)) : description.id;
  StoredResource resource = NewResource({kModelKind, description.project, id}, backend.clock->Now());
  model.set_name(NameOf(resource.key));
  model.set_uid(resource.uid);
  model.set_display_name(description.display_name);
  *model.mutable_create_time() = ToTimestamp(resource.create_time);
  resource.body = model.SerializeAsString();
  const absl::StatusOr<StoredResource> created = CreateOnce(backend.store, resource, description.request_id);
  if (created.ok()) return ParseBody<v1::Model>(*created);
  if (absl::IsAlreadyExists(created.status()) && description.id.empty()) {
    QZO_ASSIGN_OR_RETURN(const v1::Model there, GetMessage<v1::Model>(backend.store, kModelKind, "name", model.name()));
    if (there.digest() == digest) return there;
  }
  return created.status();
}

bool HoldsModel(Store* store, const std::string& project, const std::string& digest) {
  std::string page_token;
  do {
    const absl::StatusOr<ResourcePage> page =
        ListResources(store, kModelKind, absl::StrCat("projects/", project), kPageSize, page_token);
    if (!page.ok()) return false;  // the file will be asked for
    for (const StoredResource& resource : page->resources) {
      const auto model = ParseBody<v1::Model>(resource);
      if (model.ok() && model->digest() == digest) return true;
    }
    page_token = page->next_page_token;
  } while (!page_token.empty());
  return false;
}

absl::StatusOr<v1::Model> ImportModel(const Backend& backend, const std::string& path) {
  const BlobKeeper::Hold hold(backend.keeper);
  QZO_ASSIGN_OR_RETURN(const std::string digest, backend.blobs->ImportFile(path, ""));
  const std::string id = IdFrom(std::filesystem::path(path).stem().string(), "model-");
  const absl::StatusOr<v1::Model> model =
      RegisterModel(backend, {.project = "default", .id = id, .display_name = "", .request_id = ""}, digest);
  if (model.ok()) return model;
  const absl::StatusOr<v1::Model> there =
      GetMessage<v1::Model>(backend.store, kModelKind, "name", NameOf({kModelKind, "default", id}));
  if (there.ok() && there->digest() == digest) return there;
  backend.keeper->Discard(digest);
  return absl::Status(model.status().code(), absl::StrCat(path, ": ", model.status().message()));
}

}  // namespace qzo::server
