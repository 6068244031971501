// The file that says where qzoctl connects when neither flags nor variables do.
#ifndef QZO_CLIENT_CLI_CONFIG_H_
#define QZO_CLIENT_CLI_CONFIG_H_

#include "absl/status/status.h"
#include "base/fs.h"
#include "client/cli/session.h"

namespace qzo::client {

// Reads $QZO_CONFIG, or qzo/config.yaml in $XDG_CONFIG_HOME or ~/.config, into `flags`; a default file need not be
// there. INVALID_ARGUMENT with the place of every error; NOT_FOUND.
absl::Status LoadConfig(base::FileSystem* fs, GlobalFlags* flags);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_CONFIG_H_
