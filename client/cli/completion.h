// Completion scripts, made from the application's own flags. Pure.
#ifndef QZO_CLIENT_CLI_COMPLETION_H_
#define QZO_CLIENT_CLI_COMPLETION_H_

#include <CLI/CLI.hpp>
#include <string>

namespace qzo::client {

// `shell` is bash, zsh or fish.
std::string CompletionScript(const CLI::App& app, const std::string& shell);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_COMPLETION_H_
