// upload and download.
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"

namespace qzo::client {
namespace {

template <typename Resource>
void PrintUploaded(Session& session, const Resource& resource) {
  const OutputFormat output = session.flags().output;
  if (output == OutputFormat::kJson || output == OutputFormat::kYaml)
    session.PrintMessage(resource);
  else
    session.out() << resource.name() << "\n";
}

void PrintWritten(Session& session, uint64_t bytes, const std::string& path) {
  session.Note(absl::StrCat("wrote ", base::HumanBytes(bytes)));
  session.out() << path << "\n";
}

// A directory of a model in several files.
absl::StatusOr<int> DownloadModel(Session& session, Client* client, const TransferFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const v1::Model model, client->GetModel(session.Name("models", flags.what)));
  const std::string suffix = model.files().empty() ? ".gguf" : "";
  const std::string path = flags.file.empty() ? ShortName(flags.what) + suffix : flags.file;
  QZO_RETURN_IF_ERROR(client->DownloadModel(model, path, session.ShowTransfer("downloading " + flags.what)));
  PrintWritten(session, static_cast<uint64_t>(model.bytes()), path);
  return kOk;
}

}  // namespace

absl::StatusOr<int> Upload(Session& session, const TransferFlags& flags) {
  UploadOptions options;
  options.id = flags.id;
  options.display_name = flags.display_name;
  options.progress = session.ShowTransfer("uploading " + flags.what);
  if (flags.kind == "model") {
    QZO_ASSIGN_OR_RETURN(const v1::Model model, session.UploadModel(flags.what, options));
    PrintUploaded(session, model);
  } else {
    QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
    QZO_ASSIGN_OR_RETURN(const v1::Dataset dataset, client->UploadDataset(session.parent(), flags.what, options));
    PrintUploaded(session, dataset);
  }
  return kOk;
}

absl::StatusOr<int> Download(Session& session, const TransferFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  if (flags.kind == "model") return DownloadModel(session, client, flags);
  const std::string suffix = flags.kind == "adapter" ? ".safetensors" : ".qzoj";
  const std::string path = flags.file.empty() ? ShortName(flags.what) + suffix : flags.file;
  if (flags.kind == "adapter") {
    QZO_ASSIGN_OR_RETURN(const std::string bytes, session.DownloadAdapter(flags.what, flags.step));
    QZO_RETURN_IF_ERROR(session.fs()->WriteDurably(path, bytes));
  } else {
    QZO_RETURN_IF_ERROR(client->DownloadJournal(session.Name("jobs", flags.what), path));
  }
  QZO_ASSIGN_OR_RETURN(const uint64_t bytes, session.fs()->Size(path));
  PrintWritten(session, bytes, path);
  return kOk;
}

}  // namespace qzo::client
