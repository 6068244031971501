// Every flag of qzoctl, in one place. Precedence: flag, QZO_* variable, what is in *flags before.
#ifndef QZO_CLIENT_CLI_FLAGS_H_
#define QZO_CLIENT_CLI_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/session.h"

namespace qzo::client {

struct SubmitFlags {
  std::string file;
  std::vector<std::string> set;
  bool detach = false;
  bool wait = false;
  bool validate_only = false;
  std::string request_id;
};

struct GetFlags {
  std::string kind;
  std::string name;
  bool watch = false;
  std::vector<std::string> labels;
};

struct JobFlags {
  std::string name;
  uint64_t from_sequence = 1;
  bool follow = false;
};

struct WaitFlags {
  std::string name;
  std::string condition = "state=succeeded";
  double timeout_seconds = 0;  // 0 = for ever
};

struct DeleteFlags {
  std::string kind;
  std::vector<std::string> names;
  bool force = false;
};

struct TransferFlags {
  std::string kind;
  std::string what;  // path to upload, name to download
  std::string id;    // upload
  std::string display_name;
  std::string file;  // download: where to
  std::optional<uint32_t> step;
};

struct TokenFlags {
  std::vector<std::string> names;
  std::string role = "submitter";
  bool all_projects = false;
  double ttl_seconds = 0;  // 0 = for ever
  std::string display_name;
  std::string file;  // where the secret goes
};

struct AuditFlags {
  bool all_projects = false;
  std::string caller;
  std::string method;
  std::string resource;
  std::string code;
  std::string since;
  std::string until;
  int limit = 50;
};

// generate, classify, eval, verify, export.
struct LocalFlags {
  std::string model;
  std::string adapter;
  std::optional<uint32_t> step;
  std::string job_file;  // whose task is to be used
  std::string dataset;
  std::vector<std::string> fields;  // key=value of one row
  std::string prompt;
  bool chat = false;
  std::string destination;
  std::string type;  // export: for what cannot be folded; models convert
  bool multipliers = false;
  std::string exported;  // verify
  int max_tokens = 128;
  double temperature = 0;
  int top_k = 0;
  double top_p = 1;
  uint64_t seed = 0;
  // eval of written answers.
  bool generate = false;
  int answer_tokens = 50;
  std::string answers;  // file for them
};

// plot and diff.
struct CompareFlags {
  std::vector<std::string> names;
  std::string svg;  // files to write
  std::string png;
};

struct DrawFlags {
  std::string file;
  std::string directory;
  uint32_t seed = 0;
  uint32_t train = 0;  // rows of each
  uint32_t validation = 0;
  uint32_t test = 0;
};

struct ChatFlags {
  std::string adapter;
  std::string model;
  std::string system;
  uint32_t max_tokens = 512;
  double temperature = 0.7;
  uint32_t top_k = 0;
  double top_p = 1;
  uint64_t seed = 0;
};

struct Flags {
  GlobalFlags global;
  SubmitFlags submit;
  GetFlags get;
  JobFlags job;
  WaitFlags wait;
  DeleteFlags remove;
  TransferFlags transfer;
  TokenFlags token;
  AuditFlags audit;
  LocalFlags local;
  CompareFlags compare;
  DrawFlags draw;
  ChatFlags chat;
  std::string shell;
  // The verb that was asked for.
  std::function<absl::StatusOr<int>(Session&)> run;
};

// An application that parses into `flags`, which must outlive it.
std::unique_ptr<CLI::App> MakeApp(Flags* flags);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_FLAGS_H_
