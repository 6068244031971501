#include "client/yaml_reader.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/text.h"

namespace qzo::client {
namespace {

using ::google::protobuf::EnumValueDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Reflection;

constexpr char kQuoted[] = "!";  // yaml-cpp's tag of a quoted scalar

std::string Join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", base::ToAbsl(key));
}

std::string Describe(const YAML::Node& node) {
  if (node.IsNull()) return "nothing";
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  return absl::StrCat("'", node.Scalar(), "'");
}

// As users write it: "qzo-paper" for QZO_PAPER.
std::string Spelling(std::string_view name) {
  return absl::AsciiStrToLower(absl::StrReplaceAll(base::ToAbsl(name), {{"_", "-"}}));
}

bool Parse(const std::string& text, double* value) { return absl::SimpleAtod(text, value) && std::isfinite(*value); }
bool Parse(const std::string& text, float* value) { return absl::SimpleAtof(text, value) && std::isfinite(*value); }
bool Parse(const std::string& text, bool* value) {
  *value = text == "true";
  return *value || text == "false";
}
template <typename Integer>
bool Parse(const std::string& text, Integer* value) {
  return absl::SimpleAtoi(text, value);
}

}  // namespace

void YamlReader::Error(const YAML::Node& node, const std::string& path, std::string_view message) {
  for (const auto& [key, how] : overrides_) {
    if (path == key || absl::StartsWith(path, absl::StrCat(key, "."))) {
      problems_.push_back({0, 0, absl::StrCat(how, ": ", path, ": ", base::ToAbsl(message))});
      return;
    }
  }
  const YAML::Mark mark = node.IsDefined() ? node.Mark() : YAML::Mark::null_mark();
  const int line = std::max(mark.line, 0) + 1;
  const int column = std::max(mark.column, 0) + 1;
  problems_.push_back(
      {line, column,
       absl::StrCat(file_, ":", line, ":", column, ": ", path, path.empty() ? "" : ": ", base::ToAbsl(message))});
}

absl::Status YamlReader::status() const {
  if (problems_.empty()) return absl::OkStatus();
  std::vector<Problem> sorted = problems_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  });
  return absl::InvalidArgumentError(
      absl::StrJoin(sorted, "\n", [](std::string* out, const Problem& problem) { out->append(problem.text); }));
}

void YamlReader::Map(const YAML::Node& node, const std::string& path, const Fields& fields,
                     const std::function<std::string(const std::string&)>& hint) {
  if (!node.IsMap()) return Error(node, path, absl::StrCat("found ", Describe(node), ", expected a map"));
  std::set<std::string> seen;
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) {
      Error(entry.first, path, absl::StrCat("found ", Describe(entry.first), ", expected a key"));
      continue;
    }
    const std::string& key = entry.first.Scalar();
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.first == key; });
    if (field == fields.end()) {
      std::vector<std::string> names;
      for (const auto& f : fields) names.push_back(f.first);
      std::string more = hint ? hint(key) : "";
      if (more.empty()) more = base::DidYouMean(key, names);
      if (more.empty()) more = absl::StrCat("; expected ", absl::StrJoin(names, ", "));
      Error(entry.first, Join(path, key), absl::StrCat("unknown key", more));
    } else if (!seen.insert(key).second) {
      Error(entry.first, Join(path, key), "repeated key");
    } else {
      field->second(entry.second, Join(path, key));
    }
  }
}

void YamlReader::Sequence(const YAML::Node& node, const std::string& path, const Handler& element) {
  if (!node.IsSequence()) return Error(node, path, absl::StrCat("found ", Describe(node), ", expected a list"));
  for (size_t i = 0; i < node.size(); ++i) element(node[i], absl::StrCat(path, ".", i));
}

void YamlReader::TextMap(const YAML::Node& node, const std::string& path,
                         const std::function<void(const std::string&, const std::string&)>& add) {
  Fields fields;
  if (node.IsMap()) {
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) continue;
      const std::string key = entry.first.Scalar();
      fields.emplace_back(key, [this, &add, key](const YAML::Node& value, const std::string& at) {
        if (const std::optional<std::string> text = Text(value, at)) add(key, *text);
      });
    }
  }
  Map(node, path, fields);
}

std::optional<std::string> YamlReader::Text(const YAML::Node& node, const std::string& path) {
  if (node.IsScalar()) return node.Scalar();
  Error(node, path, absl::StrCat("found ", Describe(node), ", expected text"));
  return std::nullopt;
}

template <typename Number>
void YamlReader::Numeric(const YAML::Node& node, const std::string& path, std::string_view expected,
                         const std::function<void(Number)>& set) {
  Number value{};
  if (node.IsScalar() && node.Tag() != kQuoted && Parse(node.Scalar(), &value)) return set(value);
  const bool quoted = node.IsScalar() && node.Tag() == kQuoted;
  Error(node, path,
        absl::StrCat("found ", quoted ? "the text " : "", Describe(node), ", expected ", base::ToAbsl(expected)));
}

void YamlReader::Enum(const YAML::Node& node, const std::string& path, const FieldDescriptor* field,
                      google::protobuf::Message* message) {
  const auto text = Text(node, path);
  if (!text) return;
  std::vector<std::string> names;
  for (int i = 0; i < field->enum_type()->value_count(); ++i) {
    const EnumValueDescriptor* value = field->enum_type()->value(i);
    if (value->number() == 0) continue;  // …_UNSPECIFIED
    names.push_back(Spelling(value->name()));
    if (Spelling(*text) != names.back()) continue;
    if (field->is_repeated()) return message->GetReflection()->AddEnum(message, field, value);
    return message->GetReflection()->SetEnum(message, field, value);
  }
  Error(node, path,
        absl::StrCat("found ", Describe(node), ", expected ", absl::StrJoin(names, " or "),
                     base::DidYouMean(*text, names)));
}

void YamlReader::Field(const YAML::Node& node, const std::string& path, const FieldDescriptor* field,
                       google::protobuf::Message* message) {
  const Reflection* reflection = message->GetReflection();
  if (field->is_repeated()) {
    const bool named = field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM;
    // An empty list of names would be taken for one that was left out.
    if (named && node.IsSequence() && node.size() == 0)
      return Error(node, path, "an empty list, expected a name in it");
    return Sequence(node, path, [&](const YAML::Node& element, const std::string& at) {
      if (named) return Enum(element, at, field, message);
      if (const auto text = Text(element, at)) reflection->AddString(message, field, *text);
    });
  }
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return Numeric<int32_t>(node, path, "a whole number",
                              [&](int32_t v) { reflection->SetInt32(message, field, v); });
    case FieldDescriptor::CPPTYPE_UINT32:
      return Numeric<uint32_t>(node, path, "a whole number from 0",
                               [&](uint32_t v) { reflection->SetUInt32(message, field, v); });
    case FieldDescriptor::CPPTYPE_UINT64:
      return Numeric<uint64_t>(node, path, "a whole number from 0",
                               [&](uint64_t v) { reflection->SetUInt64(message, field, v); });
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Numeric<double>(node, path, "a number", [&](double v) { reflection->SetDouble(message, field, v); });
    case FieldDescriptor::CPPTYPE_FLOAT:
      return Numeric<float>(node, path, "a number", [&](float v) { reflection->SetFloat(message, field, v); });
    case FieldDescriptor::CPPTYPE_BOOL:
      return Numeric<bool>(node, path, "true or false", [&](bool v) { reflection->SetBool(message, field, v); });
    case FieldDescriptor::CPPTYPE_ENUM:
      return Enum(node, path, field, message);
    case FieldDescriptor::CPPTYPE_STRING:
      if (const auto text = Text(node, path)) reflection->SetString(message, field, *text);
      return;
    default:
      return Error(node, path, "cannot be set in a file");
  }
}

void YamlReader::Message(const YAML::Node& node, const std::string& path, google::protobuf::Message* message) {
  Fields fields;
  const google::protobuf::Descriptor* descriptor = message->GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    fields.emplace_back(field->name(), [this, field, message](const YAML::Node& value, const std::string& at) {
      Field(value, at, field, message);
    });
  }
  Map(node, path, fields);
}

}  // namespace qzo::client
