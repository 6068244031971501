// The streams of files of Client: uploads and downloads.
#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/digest.h"
#include "base/sha256sums.h"
#include "base/status_macros.h"
#include "client/client.h"
#include "proto/grpc_status.h"

namespace qzo::client {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;  // the API's limit

template <typename Request>
Request Header(const std::string& parent, const UploadOptions& options, std::string_view bytes) {
  Request request;
  auto* header = request.mutable_header();
  header->set_parent(parent);
  header->set_display_name(options.display_name);
  header->set_request_id(options.request_id.empty() ? NewRequestId() : options.request_id);
  header->set_digest(base::Sha256Hex(bytes));
  return request;
}

}  // namespace

absl::Duration Client::TransferTimeout(int64_t bytes) const {
  return options_.transfer_timeout + absl::Seconds(bytes >> 20);
}

template <typename Response, typename Request, typename Open>
absl::StatusOr<Response> Client::SendFiles(const Open& open, const Request& header, const Parts& parts,
                                           const TransferProgress& progress) {
  uint64_t total = 0;
  for (const auto& [name, bytes] : parts) total += bytes.size();
  Response response;
  QZO_RETURN_IF_ERROR(Attempts(true, [&] {
    grpc::ClientContext context;
    Arm(&context, TransferTimeout(static_cast<int64_t>(total)));
    const Interrupt::Scope scope(options_.interrupt, &context);
    const auto stream = open(&context, &response);
    // A Write fails when the server has answered early; Finish then says what.
    bool open_for_more = stream->Write(header);
    uint64_t done = 0;
    for (const auto& [name, bytes] : parts) {
      if constexpr (requires(Request request) { request.set_file(""); }) {
        Request begin;
        begin.set_file(name);
        if (!name.empty()) open_for_more = open_for_more && stream->Write(begin);
      }
      for (size_t sent = 0; open_for_more && sent < bytes.size();) {
        const std::string_view piece = bytes.substr(sent, kChunkBytes);
        Request chunk;
        chunk.set_data(piece.data(), piece.size());
        open_for_more = stream->Write(chunk);
        sent += piece.size();
        done += piece.size();
        if (progress) progress(done, total);
      }
    }
    if (open_for_more) stream->WritesDone();
    return rpc::FromGrpc(stream->Finish());
  }));
  return response;
}

namespace {

// The same error, naming the file as the user knows it; violations that name a place in it are left as they are.
absl::Status AboutFile(const absl::Status& status, const std::string& path) {
  if (rpc::BadRequestOf(status)) return status;
  absl::Status named(status.code(), absl::StrCat(path, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { named.SetPayload(url, payload); });
  return named;
}

}  // namespace

absl::StatusOr<v1::Dataset> Client::UploadDataset(const std::string& parent, const std::string& path,
                                                  const UploadOptions& options) {
  QZO_ASSIGN_OR_RETURN(const auto file, base::MappedFile::Open(path));
  auto request = Header<v1::CreateDatasetRequest>(parent, options, file->bytes());
  request.mutable_header()->set_dataset_id(options.id);
  request.mutable_header()->set_model(options.model);
  if (options.task) *request.mutable_header()->mutable_task() = *options.task;
  return SendFiles<v1::Dataset>(
      [this](auto* context, auto* response) { return datasets_->CreateDataset(context, response); }, request,
      {{"", file->bytes()}}, options.progress);
}

absl::StatusOr<v1::Model> Client::UploadModel(const std::string& parent, const std::string& path,
                                              const UploadOptions& options) {
  QZO_ASSIGN_OR_RETURN(const auto file, base::MappedFile::Open(path));
  auto request = Header<v1::CreateModelRequest>(parent, options, file->bytes());
  request.mutable_header()->set_model_id(options.id);
  const auto open = [this](auto* context, auto* response) { return models_->CreateModel(context, response); };
  absl::StatusOr<v1::Model> known = SendFiles<v1::Model>(open, request, {}, nullptr);
  if (!absl::IsFailedPrecondition(known.status())) return known;  // what a server says that needs the data
  absl::StatusOr<v1::Model> sent = SendFiles<v1::Model>(open, request, {{"", file->bytes()}}, options.progress);
  if (!sent.ok()) return AboutFile(sent.status(), path);
  return sent;
}

absl::StatusOr<v1::Model> Client::UploadModel(const std::string& parent, const std::vector<UploadFile>& files,
                                              const UploadOptions& options) {
  std::vector<std::unique_ptr<base::MappedFile>> mappings;
  std::vector<base::FileDigest> digests;
  for (const UploadFile& file : files) {
    QZO_ASSIGN_OR_RETURN(mappings.emplace_back(), base::MappedFile::Open(file.path));
    digests.push_back({.name = file.name, .digest = base::Sha256Hex(mappings.back()->bytes())});
  }
  const std::string list = base::WriteSha256Sums(digests);
  v1::FindMissingFilesRequest find;
  find.set_parent(parent);
  find.set_file_list(list);
  v1::FindMissingFilesResponse missing;
  QZO_RETURN_IF_ERROR(Attempts(true, [&] {
    grpc::ClientContext context;
    Arm(&context, options_.call_timeout);
    const Interrupt::Scope scope(options_.interrupt, &context);
    return rpc::FromGrpc(models_->FindMissingFiles(&context, find, &missing));
  }));
  auto request = Header<v1::CreateModelRequest>(parent, options, list);
  request.mutable_header()->set_model_id(options.id);
  request.mutable_header()->set_file_list(list);
  Parts parts;
  for (const std::string& name : missing.files()) {
    const auto at = std::find_if(digests.begin(), digests.end(), [&](const auto& file) { return file.name == name; });
    if (at == digests.end()) return absl::InternalError(absl::StrCat("the server asks for '", name, "'"));
    parts.emplace_back(name, mappings[static_cast<size_t>(at - digests.begin())]->bytes());
  }
  return SendFiles<v1::Model>([this](auto* context, auto* response) { return models_->CreateModel(context, response); },
                              request, parts, options.progress);
}

template <typename Open>
absl::Status Client::Receive(const Open& open, int64_t bytes, const std::function<absl::Status()>& restart,
                             const std::function<absl::Status(std::string_view)>& sink) {
  return Attempts(true, [&]() -> absl::Status {
    QZO_RETURN_IF_ERROR(restart());
    grpc::ClientContext context;
    Arm(&context, TransferTimeout(bytes));
    const Interrupt::Scope scope(options_.interrupt, &context);
    const auto stream = open(&context);
    absl::Status written;
    for (v1::Chunk chunk; written.ok() && stream->Read(&chunk);) written = sink(chunk.data());
    if (!written.ok()) context.TryCancel();
    const absl::Status received = rpc::FromGrpc(stream->Finish());
    return written.ok() ? received : written;
  });
}

absl::Status Client::DownloadModelFile(const v1::Model& model, const v1::Model::File& wanted, const std::string& path,
                                       const TransferProgress& progress) {
  std::unique_ptr<base::PendingFile> file;
  std::unique_ptr<base::Sha256Stream> digest;
  uint64_t done = 0;
  v1::DownloadModelRequest request;
  request.set_name(model.name());
  request.set_file(wanted.name());
  QZO_RETURN_IF_ERROR(Receive([&](auto* context) { return models_->DownloadModel(context, request); }, wanted.bytes(),
                              [&]() -> absl::Status {
                                file.reset();
                                QZO_ASSIGN_OR_RETURN(file, options_.fs->CreatePending(path));
                                digest = std::make_unique<base::Sha256Stream>();
                                done = 0;
                                return absl::OkStatus();
                              },
                              [&](std::string_view bytes) {
                                digest->Update(bytes);
                                done += bytes.size();
                                if (progress) progress(done, static_cast<uint64_t>(wanted.bytes()));
                                return file->Append(bytes);
                              }));
  if (const std::string found = digest->FinishHex(); found != wanted.digest()) {
    return absl::DataLossError(absl::StrCat(model.name(), ": downloaded ", done, " bytes with SHA-256 ", found,
                                            ", expected ", wanted.digest(), "; try again"));
  }
  return file->Commit();
}

absl::Status Client::DownloadModel(const v1::Model& model, const std::string& path, const TransferProgress& progress) {
  if (model.files().empty()) {
    v1::Model::File whole;
    whole.set_digest(model.digest());
    whole.set_bytes(model.bytes());
    return DownloadModelFile(model, whole, path, progress);
  }
  std::vector<base::FileDigest> files;
  for (const v1::Model::File& file : model.files()) files.push_back({.name = file.name(), .digest = file.digest()});
  const std::string list = base::WriteSha256Sums(files);
  if (base::Sha256Hex(list) != model.digest()) {
    return absl::DataLossError(absl::StrCat(model.name(), ": the list of its files has SHA-256 ", base::Sha256Hex(list),
                                            ", expected ", model.digest()));
  }
  QZO_RETURN_IF_ERROR(base::ParseSha256Sums(list).status());  // names that stay in the directory
  QZO_RETURN_IF_ERROR(options_.fs->CreateDirectories(path));
  uint64_t done = 0;
  for (const v1::Model::File& file : model.files()) {
    const std::string target = absl::StrCat(path, "/", file.name());
    const auto there = base::MappedFile::Open(target);
    if (!there.ok() || base::Sha256Hex((*there)->bytes()) != file.digest()) {
      const auto shown = [&](uint64_t of_file, uint64_t) {
        if (progress) progress(done + of_file, static_cast<uint64_t>(model.bytes()));
      };
      QZO_RETURN_IF_ERROR(DownloadModelFile(model, file, target, shown));
    }
    done += static_cast<uint64_t>(file.bytes());
  }
  return options_.fs->WriteDurably(absl::StrCat(path, "/", base::kSha256SumsName), list);
}

absl::Status Client::DownloadJournal(const std::string& job, const std::string& path) {
  std::unique_ptr<base::PendingFile> file;
  v1::DownloadJournalRequest request;
  request.set_name(job);
  QZO_RETURN_IF_ERROR(Receive([&](auto* context) { return jobs_->DownloadJournal(context, request); }, 0,
                              [&]() -> absl::Status {
                                file.reset();
                                QZO_ASSIGN_OR_RETURN(file, options_.fs->CreatePending(path));
                                return absl::OkStatus();
                              },
                              [&](std::string_view bytes) { return file->Append(bytes); }));
  return file->Commit();
}

absl::StatusOr<std::string> Client::DownloadAdapter(const std::string& name, std::optional<uint32_t> step) {
  std::string bytes;
  v1::DownloadAdapterRequest request;
  request.set_name(name);
  if (step) request.set_step(*step);
  QZO_RETURN_IF_ERROR(Receive([&](auto* context) { return adapters_->DownloadAdapter(context, request); }, 0,
                              [&] {
                                bytes.clear();
                                return absl::OkStatus();
                              },
                              [&](std::string_view piece) {
                                bytes.append(piece);
                                return absl::OkStatus();
                              }));
  return bytes;
}

}  // namespace qzo::client
