// The file that says where qzoctl connects when neither flags nor variables do.
#ifndef QZO_CLIENT_CLI_CONFIG_H_
#define QZO_CLIENT_CLI_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/fs.h"
#include "client/cli/session.h"

namespace qzo::client {

// Reads $QZO_CONFIG, or qzo/config.yaml in $XDG_CONFIG_HOME or ~/.config, into `flags`; a default file need not be
// there. What stands under contexts.NAME, for flags->context or else the file's own `context`, goes before what stands
// beside it. INVALID_ARGUMENT with the place of every error, or for a context that is not there; NOT_FOUND.
absl::Status LoadConfig(base::FileSystem* fs, GlobalFlags* flags);

// The value of --context among the arguments, which is needed before they are parsed, or else of QZO_CONTEXT.
std::string ContextOf(const std::vector<std::string>& arguments);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_CONFIG_H_
