// What every verb of qzoctl gets: the outside world behind seams, the global flags, and the client. Thread-compatible.
#ifndef QZO_CLIENT_CLI_SESSION_H_
#define QZO_CLIENT_CLI_SESSION_H_

#include <grpcpp/channel.h>

#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/fs.h"
#include "client/client.h"
#include "client/output.h"
#include "kernels/integer.h"
#include "method/adapter.h"

namespace qzo::client {

struct Environment {
  std::istream* in = nullptr;
  std::ostream* out = nullptr;  // data
  std::ostream* err = nullptr;  // messages and progress
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  int columns = 80;  // of err
  absl::TimeZone zone = absl::LocalTimeZone();
  std::function<absl::StatusOr<std::shared_ptr<grpc::Channel>>(const rpc::Endpoint& endpoint)> dial = Dial;
  ClientOptions client;  // its interrupt is ^C
};

struct GlobalFlags {
  std::string context;  // of the configuration file, which was read before the other flags
  rpc::Endpoint endpoint;
  std::string project = "default";
  OutputFormat output = OutputFormat::kTable;
  bool quiet = false;
  bool verbose = false;
  int threads = 0;  // of local computations; 0 = all that the process may use
  kernels::Arithmetic arithmetic = kernels::Arithmetic::kInt16;  // of theirs
  std::string cache_directory;
};

class Session {
 public:
  // Both must outlive the session.
  Session(const Environment& env, const GlobalFlags& flags) : env_(env), flags_(flags) {}

  const Environment& env() const { return env_; }
  const GlobalFlags& flags() const { return flags_; }
  std::ostream& out() { return *env_.out; }
  base::FileSystem* fs() { return env_.client.fs; }
  absl::Time now() const { return env_.client.clock->Now(); }
  bool interrupted() const { return env_.client.interrupt != nullptr && env_.client.interrupt->triggered(); }

  // Dials when first used. INVALID_ARGUMENT for a bad TLS file.
  absl::StatusOr<Client*> client();

  std::string parent() const { return "projects/" + flags_.project; }
  // Full names stay; short ones are of `collection` in the project ("workers" have none).
  std::string Name(std::string_view collection, const std::string& name) const;

  // A message for people, unless they asked for quiet.
  void Note(std::string_view text);
  // `message` as -o says; tables are the caller's.
  void PrintMessage(const google::protobuf::Message& message);
  // A progress display for a transfer of `what`; nothing when nobody watches.
  TransferProgress ShowTransfer(const std::string& what);

  // The whole of a file, or of standard input for "-".
  absl::StatusOr<std::string> ReadInput(const std::string& path);
  // Of any path that model::ListModelFiles takes.
  absl::StatusOr<v1::Model> UploadModel(const std::string& path, const UploadOptions& options);
  // The path of a model file or directory: `model` itself when it is one; else the model of that name, or (when `model`
  // is empty) the one with `digest`, in the cache, downloaded when it is not there.
  absl::StatusOr<std::string> FindModel(const std::string& model, const std::string& digest);
  // Of a file, or downloaded: an adapter's name, or a job's.
  absl::StatusOr<method::Adapter> FindAdapter(const std::string& adapter, std::optional<uint32_t> step);
  // The bytes of the same, for keeping.
  absl::StatusOr<std::string> DownloadAdapter(const std::string& name, std::optional<uint32_t> step);

 private:
  absl::StatusOr<std::string> CachedModel(const v1::Model& model);
  // Of a model in the cache, as workers lay it there, too; "" when it is not.
  std::string CachedPath(const std::string& digest);

  const Environment& env_;
  const GlobalFlags& flags_;
  std::unique_ptr<Client> client_;
};

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_SESSION_H_
