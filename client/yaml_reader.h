// Strict reading of YAML into messages, collecting every error with its place. Part of job_file.cc's machinery.
#ifndef QZO_CLIENT_YAML_READER_H_
#define QZO_CLIENT_YAML_READER_H_

#include <google/protobuf/message.h>
#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace qzo::client {

// Thread-compatible. Paths of keys are dotted: "method.steps", "datasets.0.path".
class YamlReader {
 public:
  using Handler = std::function<void(const YAML::Node& value, const std::string& path)>;
  using Fields = std::vector<std::pair<std::string, Handler>>;

  // `file` begins every error's place. Keys at or below one in `overrides` (path → how) were given on the command line.
  YamlReader(std::string file, std::map<std::string, std::string> overrides)
      : file_(std::move(file)), overrides_(std::move(overrides)) {}

  // Calls the handler of every key. Errors: not a map, unknown and repeated keys; `hint` may add to the text of an
  // unknown one.
  void Map(const YAML::Node& node, const std::string& path, const Fields& fields,
           const std::function<std::string(const std::string& key)>& hint = nullptr);
  // Fields of `message` by their names in the .proto, enum values in lower case with '-' for '_'.
  void Message(const YAML::Node& node, const std::string& path, google::protobuf::Message* message);
  // Free keys with text values.
  void TextMap(const YAML::Node& node, const std::string& path,
               const std::function<void(const std::string& key, const std::string& value)>& add);
  // Calls `element` with each element and its path.
  void Sequence(const YAML::Node& node, const std::string& path, const Handler& element);
  // Any scalar but an empty one, as it is written.
  std::optional<std::string> Text(const YAML::Node& node, const std::string& path);

  void Error(const YAML::Node& node, const std::string& path, std::string_view message);
  // OK, or INVALID_ARGUMENT with all errors, those of the file in its order.
  absl::Status status() const;

 private:
  struct Problem {
    int line, column;  // from 1; 0 = command line
    std::string text;
  };
  void Field(const YAML::Node& node, const std::string& path, const google::protobuf::FieldDescriptor* field,
             google::protobuf::Message* message);
  void Enum(const YAML::Node& node, const std::string& path, const google::protobuf::FieldDescriptor* field,
            google::protobuf::Message* message);
  template <typename Number>
  void Numeric(const YAML::Node& node, const std::string& path, std::string_view expected,
               const std::function<void(Number)>& set);

  const std::string file_;
  const std::map<std::string, std::string> overrides_;
  std::vector<Problem> problems_;
};

}  // namespace qzo::client

#endif  // QZO_CLIENT_YAML_READER_H_
