// A server-streaming call that sends bytes in chunks: a blob, an adapter file, a journal.
#ifndef QZO_SERVER_DOWNLOAD_REACTOR_H_
#define QZO_SERVER_DOWNLOAD_REACTOR_H_

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/fs.h"
#include "base/mutex.h"
#include "qzo/v1/common.pb.h"
#include "server/backend.h"
#include "server/stall_guard.h"

namespace qzo::server {

// A mapped file, or a text when there is none.
struct Payload {
  std::unique_ptr<base::MappedFile> file;
  std::string text;

  std::string_view bytes() const { return file != nullptr ? file->bytes() : std::string_view(text); }
};

// Deletes itself. `source` and every read of the file run on backend.calls.
class DownloadReactor final : public grpc::ServerWriteReactor<v1::Chunk> {
 public:
  DownloadReactor(const Backend& backend, grpc::CallbackServerContext* context,
                  const google::protobuf::Message& request, std::function<absl::StatusOr<Payload>()> source);

  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  void Cut(const absl::Status& why);
  void SendNext();
  void End(const absl::Status& status);

  Executor* const executor_;
  std::shared_ptr<Admission> admission_;
  std::optional<StallGuard> guard_;
  std::unique_ptr<OpenStreams::Entry> stream_;
  Payload payload_;
  std::string_view rest_;
  v1::Chunk chunk_;

  base::Mutex mu_;
  absl::Status cut_ ABSL_GUARDED_BY(mu_);  // not OK: nothing more is sent
};

}  // namespace qzo::server

#endif  // QZO_SERVER_DOWNLOAD_REACTOR_H_
