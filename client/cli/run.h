// qzoctl without a process around it: arguments in, exit code out.
#ifndef QZO_CLIENT_CLI_RUN_H_
#define QZO_CLIENT_CLI_RUN_H_

#include <string>
#include <vector>

#include "client/cli/session.h"

namespace qzo::client {

// `arguments` without the program's name. Data goes to env.out, messages to env.err. Reads QZO_* variables.
int RunQzoctl(const std::vector<std::string>& arguments, const Environment& env);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_RUN_H_
