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
  const YamlReader::Fields settings = {
      {"server", into(&endpoint.server)},   {"project", into(&flags->project)},
      {"tls_ca", into(&endpoint.tls.ca)},   {"tls_cert", into(&endpoint.tls.cert)},
      {"tls_key", into(&endpoint.tls.key)}, {"token_file", into(&endpoint.token_file)}};
  std::string own;
  YamlReader::Fields all = settings;
  all.emplace_back("context", into(&own));
  all.emplace_back("contexts", [](const YAML::Node&, const std::string&) {});
  reader.Map(root, "", all);
  if (flags->context.empty()) flags->context = own;
  if (flags->context.empty()) return reader.status();
  if (!root.IsMap()) return reader.status();
  const YAML::Node& file = root;  // const: looking for a key does not make it
  const YAML::Node contexts = file["contexts"];
  if (!contexts.IsDefined() || !contexts.IsMap() || !contexts[flags->context].IsDefined()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": contexts.", flags->context, ": there is no such context"));
  }
  reader.Map(contexts[flags->context], absl::StrCat("contexts.", flags->context), settings);
  return reader.status();
}

std::string ContextOf(const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--context" && i + 1 < arguments.size()) return arguments[i + 1];
    if (arguments[i].starts_with("--context=")) return arguments[i].substr(10);
  }
  const char* variable = std::getenv("QZO_CONTEXT");
  return variable == nullptr ? "" : variable;
}

}  // namespace qzo::client
