#include "client/cli/config.h"

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/yaml_reader.h"

namespace qzo::client {
namespace {

std::string DefaultPath() {
  if (const char* xdg = std::getenv("XDG_CONFIG_HOME"); xdg != nullptr && *xdg != '\0')
    return absl::StrCat(xdg, "/qzo/config.yaml");
  const char* home = std::getenv("HOME");
  return home == nullptr ? "" : absl::StrCat(home, "/.config/qzo/config.yaml");
}

}  // namespace

absl::Status LoadConfig(base::FileSystem* fs, GlobalFlags* flags) {
  const char* named = std::getenv("QZO_CONFIG");
  const std::string path = named == nullptr ? DefaultPath() : named;
  if (path.empty() || (named == nullptr && !fs->Exists(path))) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(const std::string text, fs->Read(path));
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ":", error.mark.line + 1, ": ", error.msg));
  }
  YamlReader reader(path, {});
  const auto into = [&reader](std::string* value) {
    return [&reader, value](const YAML::Node& node, const std::string& key) {
      *value = reader.Text(node, key).value_or(*value);
    };
  };
  rpc::Endpoint& endpoint = flags->endpoint;
  reader.Map(root, "",
             {{"server", into(&endpoint.server)},
              {"project", into(&flags->project)},
              {"tls_ca", into(&endpoint.tls.ca)},
              {"tls_cert", into(&endpoint.tls.cert)},
              {"tls_key", into(&endpoint.tls.key)},
              {"token_file", into(&endpoint.token_file)}});
  return reader.status();
}

}  // namespace qzo::client
