// What verbs print under -o json and -o yaml.
#ifndef QZO_CLIENT_CLI_JSON_OUTPUT_H_
#define QZO_CLIENT_CLI_JSON_OUTPUT_H_

#include <nlohmann/json.hpp>

#include "client/cli/session.h"
#include "client/output.h"

namespace qzo::client {

inline bool WantsJson(const Session& session) {
  return session.flags().output == OutputFormat::kJson || session.flags().output == OutputFormat::kYaml;
}

inline void PrintJson(Session& session, const nlohmann::ordered_json& json) {
  session.out() << (session.flags().output == OutputFormat::kYaml ? JsonToYaml(json) : json.dump(2) + "\n");
}

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_JSON_OUTPUT_H_
