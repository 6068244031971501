#include "client/cli/run.h"

#include <nlohmann/json.hpp>

#include "client/cli/config.h"
#include "client/cli/exit_code.h"
#include "client/cli/flags.h"
#include "client/cli/verbs.h"

namespace qzo::client {

int RunQzoctl(const std::vector<std::string>& arguments, const Environment& env) {
  Flags flags;
  flags.global.context = ContextOf(arguments);
  if (const absl::Status loaded = LoadConfig(env.client.fs, &flags.global); !loaded.ok()) {
    *env.err << "qzoctl: " << loaded.message() << std::endl;
    return kUsage;
  }
  const std::unique_ptr<CLI::App> app = MakeApp(&flags);
  try {
    app->parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return app->exit(error, *env.out, *env.err) == 0 ? kOk : kUsage;
  }
  Session session(env, flags.global);
  const absl::StatusOr<int> code = flags.run(session);
  if (code.ok()) return *code;
  if (session.interrupted()) return kDetached;
  *env.err << "qzoctl: " << ErrorText(code.status(), flags.global.endpoint, flags.global.verbose) << std::endl;
  return ExitCodeOf(code.status());
}

absl::StatusOr<int> Version(Session& session) {
  if (session.flags().output == OutputFormat::kJson) {
    session.out() << nlohmann::json{{"version", QZO_VERSION}}.dump() << "\n";
  } else {
    session.out() << "qzoctl " << QZO_VERSION << "\n";
  }
  return kOk;
}

}  // namespace qzo::client
