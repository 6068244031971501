#include "server/models.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256sums.h"
#include "base/status_macros.h"
#include "method/partition.h"
#include "model/formats/model_files.h"
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
  for (const base::FileDigest& listed : loaded->files) {
    v1::Model::File& file = *model.add_files();
    file.set_name(listed.name);
    file.set_digest(listed.digest);
    QZO_ASSIGN_OR_RETURN(const uint64_t bytes, backend.blobs->Size(listed.digest));
    file.set_bytes(static_cast<int64_t>(bytes));
  }
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

absl::StatusOr<absl::flat_hash_set<std::string>> ModelDigests(Store* store, const std::string& project) {
  absl::flat_hash_set<std::string> digests;
  std::string page_token;
  do {
    QZO_ASSIGN_OR_RETURN(const ResourcePage page,
                         ListResources(store, kModelKind, absl::StrCat("projects/", project), kPageSize, page_token));
    for (const StoredResource& resource : page.resources) {
      QZO_ASSIGN_OR_RETURN(const auto model, ParseBody<v1::Model>(resource));
      for (std::string& digest : BlobsOf(model)) digests.insert(std::move(digest));
    }
    page_token = page.next_page_token;
  } while (!page_token.empty());
  return digests;
}

std::vector<std::string> BlobsOf(const v1::Model& model) {
  std::vector<std::string> digests = {model.digest()};
  for (const v1::Model::File& file : model.files()) digests.push_back(file.digest());
  return digests;
}

namespace {

// Takes the files of the model at `path` in, and the list of several. Adds what it took to `blobs`, in any case.
absl::StatusOr<std::string> ImportFiles(BlobStore* store, const std::string& path, std::vector<std::string>* blobs) {
  QZO_ASSIGN_OR_RETURN(const std::vector<model::NamedPath> files, model::ListModelFiles(path));
  std::vector<base::FileDigest> list;
  for (const model::NamedPath& file : files) {
    QZO_ASSIGN_OR_RETURN(blobs->emplace_back(), store->ImportFile(file.path, ""));
    list.push_back({.name = file.name, .digest = blobs->back()});
  }
  if (files.size() == 1) return blobs->back();
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, store->NewWriter(base::kMaxSha256SumsBytes));
  QZO_RETURN_IF_ERROR(writer->Append(base::WriteSha256Sums(list)));
  QZO_ASSIGN_OR_RETURN(blobs->emplace_back(), writer->Finish(""));
  return blobs->back();
}

}  // namespace

absl::StatusOr<v1::Model> ImportModel(const Backend& backend, const std::string& path) {
  const BlobKeeper::Hold hold(backend.keeper);
  std::vector<std::string> blobs;
  absl::StatusOr<v1::Model> model = [&]() -> absl::StatusOr<v1::Model> {
    QZO_ASSIGN_OR_RETURN(const std::string digest, ImportFiles(backend.blobs, path, &blobs));
    const std::filesystem::path named = std::filesystem::path(path).lexically_normal();
    const std::filesystem::path last = named.has_filename() ? named : named.parent_path();
    const std::string id = IdFrom(last.stem().string(), "model-");
    absl::StatusOr<v1::Model> made =
        RegisterModel(backend, {.project = "default", .id = id, .display_name = "", .request_id = ""}, digest);
    if (made.ok()) return made;
    const absl::StatusOr<v1::Model> there =
        GetMessage<v1::Model>(backend.store, kModelKind, "name", NameOf({kModelKind, "default", id}));
    return there.ok() && there->digest() == digest ? there : made;
  }();
  if (model.ok()) return model;
  for (const std::string& digest : blobs) backend.keeper->Discard(digest);
  return absl::Status(model.status().code(), absl::StrCat(path, ": ", model.status().message()));
}

}  // namespace qzo::server
