// A server-streaming call that sends bytes in chunks: a blob, an adapter file, a journal.
#ifndef QZO_SERVER_DOWNLOAD_REACTOR_H_
#define QZO_SERVER_DOWNLOAD_REACTOR_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/fs.h"
#include "qzo/v1/common.pb.h"
#include "server/executor.h"

namespace qzo::server {

// A mapped file, or a text when there is none.
struct Payload {
  std::unique_ptr<base::MappedFile> file;
  std::string text;

  std::string_view bytes() const { return file != nullptr ? file->bytes() : std::string_view(text); }
};

// Deletes itself. `source` and every read of the file run on `executor`.
class DownloadReactor final : public grpc::ServerWriteReactor<v1::Chunk> {
 public:
  DownloadReactor(Executor* executor, std::function<absl::StatusOr<Payload>()> source);

  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  void SendNext();

  Executor* const executor_;
  Payload payload_;
  std::string_view rest_;
  v1::Chunk chunk_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_DOWNLOAD_REACTOR_H_
