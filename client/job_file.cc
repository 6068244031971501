#include "client/job_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "client/yaml_reader.h"

namespace qzo::client {
namespace {

// Keys that other trainers' files have, and where the same thing is found here.
std::string HintFor(const std::string& key) {
  static const auto* const kHints = new std::map<std::string, std::string>{
      {"model", "base_model"},
      {"dataset", "datasets"},
      {"num_epochs", "method.epochs"},
      {"num_train_epochs", "method.epochs"},
      {"n_epochs", "method.epochs"},
      {"max_steps", "method.steps"},
      {"lr", "method.learning_rate"},
      {"lr_scheduler", "method.lr_schedule"},
      {"lr_scheduler_type", "method.lr_schedule"},
      {"micro_batch_size", "method.micro_batches, which counts slices"},
      {"sequence_length", "task.sequence_len"},
      {"cutoff_len", "task.sequence_len"},
      {"val_set_size", "an entry of datasets with split: validation"},
      {"save_steps", "evaluation.snapshot_steps"},
      {"suffix", "display_name"},
  };
  if (const auto found = kHints->find(key); found != kHints->end()) return absl::StrCat("; here it is ", found->second);
  for (const auto& [section, descriptor] :
       {std::pair("task", v1::Task::descriptor()), std::pair("method", v1::Method::descriptor()),
        std::pair("evaluation", v1::EvaluationPolicy::descriptor()),
        std::pair("placement", v1::Placement::descriptor())}) {
    if (descriptor->FindFieldByName(key) != nullptr) return absl::StrCat("; it belongs under '", section, "'");
  }
  return "";
}

std::string ResourceName(const std::string& project, std::string_view collection, const std::string& name) {
  if (absl::StartsWith(name, "projects/")) return name;
  return absl::StrCat("projects/", project, "/", base::ToAbsl(collection), "/", name);
}

std::string ResolvePath(const std::string& job_file, const std::string& path) {
  const std::filesystem::path directory = job_file == "-" ? "" : std::filesystem::path(job_file).parent_path();
  return (directory / path).lexically_normal().string();
}

bool LooksLikePath(const std::string& text) {
  return !absl::StartsWith(text, "projects/") && (absl::StrContains(text, "/") || absl::EndsWith(text, ".gguf"));
}

// Sets the node at the dotted path of "a.b=c" to the YAML value c.
absl::Status ApplyOverride(const std::string& assignment, const YAML::Node& root,
                           std::map<std::string, std::string>* applied) {
  const std::string how = absl::StrCat("--set ", assignment);
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    return absl::InvalidArgumentError(absl::StrCat(how, ": expected key.key=value"));
  }
  const std::string path = assignment.substr(0, equals);
  const std::vector<std::string> keys = absl::StrSplit(path, '.');
  YAML::Node value;
  try {
    value = YAML::Load(assignment.substr(equals + 1));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(how, ": value: ", error.msg));
  }
  YAML::Node node = root;
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool last = i + 1 == keys.size();
    size_t index = 0;
    if (node.IsSequence()) {
      if (!absl::SimpleAtoi(keys[i], &index) || index >= node.size()) {
        return absl::InvalidArgumentError(absl::StrCat(how, ": found '", keys[i], "', expected an index from 0 to ",
                                                       static_cast<int64_t>(node.size()) - 1));
      }
      if (last)
        node[index] = value;
      else
        node.reset(node[index]);
    } else if (node.IsScalar()) {
      return absl::InvalidArgumentError(absl::StrCat(how, ": '", keys[i - 1], "' is no map"));
    } else {
      if (last)
        node[keys[i]] = value;
      else if (!node[keys[i]].IsDefined() || node[keys[i]].IsNull())
        node[keys[i]] = YAML::Node(YAML::NodeType::Map);
      if (!last) node.reset(node[keys[i]]);
    }
  }
  (*applied)[path] = how;
  return absl::OkStatus();
}

absl::StatusOr<YAML::Node> LoadOne(std::string_view text, const std::string& path) {
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() != 1 || documents[0].IsNull()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": found ", documents.empty() ? 0 : documents.size(),
                                                     " documents or an empty one, expected one job"));
    }
    return documents[0];
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":", error.mark.line + 1, ":", error.mark.column + 1, ": ", error.msg));
  }
}

class Builder {
 public:
  Builder(YamlReader* reader, const std::string& path, const std::string& project)
      : reader_(*reader), path_(path), project_(project) {}

  JobFile Build(const YAML::Node& root) {
    v1::JobSpec* spec = file_.job.mutable_spec();
    const auto message = [this](google::protobuf::Message* to) {
      return [this, to](const YAML::Node& node, const std::string& at) { reader_.Message(node, at, to); };
    };
    reader_.Map(
        root, "",
        {{"base_model", [this](const auto& node, const auto& at) { BaseModel(node, at); }},
         {"datasets", [this](const auto& node, const auto& at) { Datasets(node, at); }},
         {"task", message(spec->mutable_task())},
         {"method", message(spec->mutable_method())},
         {"evaluation", message(spec->mutable_evaluation())},
         {"placement", message(spec->mutable_placement())},
         {"name", [this](const auto& node, const auto& at) { file_.job_id = reader_.Text(node, at).value_or(""); }},
         {"display_name", [this](const auto& node,
                                 const auto& at) { file_.job.set_display_name(reader_.Text(node, at).value_or("")); }},
         {"labels",
          [this](const auto& node, const auto& at) {
            reader_.TextMap(node, at, [this](const std::string& key, const std::string& value) {
              (*file_.job.mutable_labels())[key] = value;
            });
          }}},
        HintFor);
    if (root.IsMap()) Require(root);
    return std::move(file_);
  }

 private:
  void Require(const YAML::Node& root) {
    if (!root["base_model"].IsDefined()) {
      reader_.Error(root, "base_model", "missing; expected a model's name or the path of a GGUF file");
    }
    if (!root["datasets"].IsDefined())
      reader_.Error(root, "datasets", "missing; expected a list with a dataset to train on");
    if (!root["task"].IsDefined()) reader_.Error(root, "task", "missing; expected a map with the task's kind");
  }

  void BaseModel(const YAML::Node& node, const std::string& at) {
    const std::string text = reader_.Text(node, at).value_or("");
    if (LooksLikePath(text))
      file_.model_path = ResolvePath(path_, text);
    else
      file_.job.mutable_spec()->set_base_model(ResourceName(project_, "models", text));
  }

  void Datasets(const YAML::Node& node, const std::string& at) {
    std::map<v1::Split, bool> seen;
    reader_.Sequence(node, at,
                     [&](const YAML::Node& entry, const std::string& entry_at) { Dataset(entry, entry_at, &seen); });
    if (node.IsSequence() && !seen.contains(v1::TRAIN)) reader_.Error(node, at, "no entry has split: train");
  }

  void Dataset(const YAML::Node& node, const std::string& at, std::map<v1::Split, bool>* seen) {
    std::string path, name, split_text = "train";
    const auto into = [this](std::string* text) {
      return [this, text](const YAML::Node& value, const std::string& key) {
        *text = reader_.Text(value, key).value_or("");
      };
    };
    reader_.Map(node, at, {{"path", into(&path)}, {"name", into(&name)}, {"split", into(&split_text)}});
    if (!node.IsMap()) return;
    if (path.empty() == name.empty()) reader_.Error(node, at, "expected either a path or a name");
    const std::vector<std::string> splits = {"train", "validation", "test"};
    const auto found = std::find(splits.begin(), splits.end(), split_text);
    if (found == splits.end()) {
      return reader_.Error(node, at + ".split",
                           absl::StrCat("found '", split_text, "', expected train or validation or test",
                                        base::DidYouMean(split_text, splits)));
    }
    const auto split = static_cast<v1::Split>(v1::TRAIN + (found - splits.begin()));
    if ((*seen)[split])
      reader_.Error(node, at + ".split", absl::StrCat("a second dataset for ", split_text, "; expected one"));
    (*seen)[split] = true;
    if (!path.empty()) {
      file_.dataset_paths[split] = ResolvePath(path_, path);
      return;
    }
    const std::string resource = ResourceName(project_, "datasets", name);
    v1::JobSpec* spec = file_.job.mutable_spec();
    if (split == v1::TRAIN)
      spec->set_training_dataset(resource);
    else if (split == v1::VALIDATION)
      spec->set_validation_dataset(resource);
    else
      spec->set_test_dataset(resource);
  }

  YamlReader& reader_;
  const std::string& path_;
  const std::string& project_;
  JobFile file_;
};

}  // namespace

absl::StatusOr<JobFile> ParseJobFile(std::string_view text, const std::string& path, const std::string& project,
                                     const std::vector<std::string>& overrides) {
  QZO_ASSIGN_OR_RETURN(YAML::Node root, LoadOne(text, path));
  try {
    std::map<std::string, std::string> applied;
    for (const std::string& assignment : overrides) QZO_RETURN_IF_ERROR(ApplyOverride(assignment, root, &applied));
    YamlReader reader(path, std::move(applied));
    JobFile file = Builder(&reader, path, project).Build(root);
    QZO_RETURN_IF_ERROR(reader.status());
    return file;
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":", error.mark.line + 1, ":", error.mark.column + 1, ": ", error.msg));
  }
}

}  // namespace qzo::client
