#include "client/output.h"

#include <google/protobuf/util/json_util.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/text.h"

namespace qzo::client {
namespace {

std::string Bytes(int64_t bytes) { return base::HumanBytes(static_cast<uint64_t>(std::max<int64_t>(bytes, 0))); }

void Emit(const nlohmann::ordered_json& json, YAML::Emitter* out) {
  if (json.is_object()) {
    if (json.empty()) *out << YAML::Flow;
    *out << YAML::BeginMap;
    for (const auto& [key, value] : json.items()) {
      *out << YAML::Key << key << YAML::Value;
      Emit(value, out);
    }
    *out << YAML::EndMap;
  } else if (json.is_array()) {
    if (json.empty()) *out << YAML::Flow;
    *out << YAML::BeginSeq;
    for (const auto& value : json) Emit(value, out);
    *out << YAML::EndSeq;
  } else if (json.is_string()) {
    // Quoted, so that texts like "no" and "12" stay texts.
    *out << YAML::DoubleQuoted << json.get<std::string>();
  } else {
    *out << json.dump();
  }
}

// "12/200".
std::string Steps(const v1::FineTuningJob& job) {
  return absl::StrCat(job.progress().step(), "/", job.progress().total_steps());
}

std::string Percent(const v1::Evaluation& evaluation) {
  return evaluation.f1_size() == 0 ? "" : absl::StrFormat("%.2f%%", 100 * evaluation.accuracy());
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message, bool one_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = !one_line;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  // A newer server may send error details of types that this program does not know.
  if (!status.ok()) return absl::StrCat("# no JSON: ", status.ToString(), "\n", message.DebugString());
  if (json.empty() || json.back() != '\n') json += '\n';
  return json;
}

std::string JsonToYaml(const nlohmann::ordered_json& json) {
  YAML::Emitter out;
  Emit(json, &out);
  return absl::StrCat(out.c_str(), "\n");
}

std::string ToYaml(const google::protobuf::Message& message) {
  const std::string text = ToJson(message, /*one_line=*/true);
  const auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_discarded() ? text : JsonToYaml(json);
}

Table JobTable(const std::vector<v1::FineTuningJob>& jobs, bool wide, absl::Time now) {
  std::vector<std::string> headers = {"NAME", "STATE", "REASON", "STEP", "LOSS", "DEV-ACC", "ETA", "WORKERS", "AGE"};
  if (wide) headers.insert(headers.end(), {"MODEL", "TOKENS/S", "SENT", "PEAK-MEMORY", "DISPLAY-NAME"});
  Table table(std::move(headers));
  for (const v1::FineTuningJob& job : jobs) {
    const v1::Progress& progress = job.progress();
    std::vector<std::string> row = {ShortName(job.name()),
                                    StateName(job.state()),
                                    job.reason(),
                                    Steps(job),
                                    progress.step() == 0 ? "" : Figure(progress.train_loss()),
                                    Percent(progress.last_validation()),
                                    progress.has_eta() && job.state() == v1::FineTuningJob::RUNNING
                                        ? ShortDuration(absl::Seconds(progress.eta().seconds()))
                                        : "",
                                    absl::StrCat(progress.workers()),
                                    Age(job.create_time(), now)};
    if (wide) {
      row.insert(row.end(), {ShortName(job.spec().base_model()), Figure(progress.tokens_per_second()),
                             base::HumanBytes(progress.payload_down_bytes() + progress.payload_up_bytes()),
                             base::HumanBytes(progress.peak_worker_memory_bytes()), job.display_name()});
    }
    table.Add(std::move(row));
  }
  return table;
}

Table WorkerTable(const std::vector<v1::Worker>& workers, bool wide, absl::Time now) {
  std::vector<std::string> headers = {"NAME", "STATE", "KIND", "JOBS", "ITEMS", "ITEMS/S", "MEMORY", "AGE"};
  if (wide) headers.insert(headers.end(), {"VARIANT", "THREADS", "HOST", "VERSION", "LIMIT"});
  Table table(std::move(headers));
  for (const v1::Worker& worker : workers) {
    std::vector<std::string> row = {ShortName(worker.name()),
                                    v1::Worker::State_Name(worker.state()),
                                    worker.kind(),
                                    absl::StrCat(worker.jobs_size()),
                                    absl::StrCat(worker.items()),
                                    Figure(worker.items_per_second()),
                                    Bytes(worker.resident_memory_bytes()),
                                    Age(worker.attach_time(), now)};
    if (wide) {
      row.insert(row.end(), {worker.variant(), absl::StrCat(worker.threads()), worker.hostname(), worker.version(),
                             Bytes(worker.memory_bytes())});
    }
    table.Add(std::move(row));
  }
  return table;
}

Table DatasetTable(const std::vector<v1::Dataset>& datasets, bool wide, absl::Time now) {
  std::vector<std::string> headers = {"NAME", "ROWS", "SIZE", "AGE"};
  if (wide) headers.insert(headers.end(), {"TOKENS", "TRUNCATED", "DIGEST", "DISPLAY-NAME"});
  Table table(std::move(headers));
  for (const v1::Dataset& dataset : datasets) {
    std::vector<std::string> row = {ShortName(dataset.name()), absl::StrCat(dataset.rows()), Bytes(dataset.bytes()),
                                    Age(dataset.create_time(), now)};
    if (wide) {
      const bool known = dataset.has_report();
      row.insert(row.end(), {known ? absl::StrCat(dataset.report().tokens()) : "",
                             known ? absl::StrCat(dataset.report().truncated_rows()) : "", dataset.digest(),
                             dataset.display_name()});
    }
    table.Add(std::move(row));
  }
  return table;
}

Table ModelTable(const std::vector<v1::Model>& models, bool wide, absl::Time now) {
  std::vector<std::string> headers = {"NAME", "ARCHITECTURE", "PARAMETERS", "SIZE", "LAYERS", "CONTEXT", "AGE"};
  if (wide) headers.insert(headers.end(), {"TENSORS", "CHANNELS", "GROUPS", "DIGEST", "DISPLAY-NAME"});
  Table table(std::move(headers));
  for (const v1::Model& model : models) {
    std::vector<std::string> row = {ShortName(model.name()),
                                    model.architecture(),
                                    absl::StrFormat("%.1fM", static_cast<double>(model.parameters()) / 1e6),
                                    Bytes(model.bytes()),
                                    absl::StrCat(model.layers()),
                                    absl::StrCat(model.context_length()),
                                    Age(model.create_time(), now)};
    if (wide) {
      const std::map<std::string, int32_t> types(model.tensor_types().begin(), model.tensor_types().end());
      row.insert(row.end(),
                 {absl::StrJoin(types, ",", absl::PairFormatter(":")), absl::StrCat(model.channel_multipliers()),
                  absl::StrCat(model.group_multipliers()), model.digest(), model.display_name()});
    }
    table.Add(std::move(row));
  }
  return table;
}

Table TokenTable(const std::vector<v1::Token>& tokens, bool wide, absl::Time now) {
  std::vector<std::string> headers = {"NAME", "ROLE", "EXPIRES", "AGE"};
  if (wide) headers.emplace_back("DISPLAY-NAME");
  Table table(std::move(headers));
  for (const v1::Token& token : tokens) {
    const absl::Time expires = ToTime(token.expire_time());
    std::vector<std::string> row = {token.name(), absl::AsciiStrToLower(v1::Token::Role_Name(token.role())),
                                    !token.has_expire_time() ? "never"
                                    : expires <= now         ? "expired"
                                                             : absl::StrCat("in ", ShortDuration(expires - now)),
                                    Age(token.create_time(), now)};
    if (wide) row.push_back(token.display_name());
    table.Add(std::move(row));
  }
  return table;
}

Table AuditTable(const std::vector<v1::AuditRecord>& records, bool wide, absl::TimeZone zone) {
  std::vector<std::string> headers = {"TIME", "CALLER", "METHOD", "RESOURCE", "CODE"};
  if (wide) headers.insert(headers.end(), {"REASON", "PEER", "SEQUENCE"});
  Table table(std::move(headers));
  for (const v1::AuditRecord& record : records) {
    std::vector<std::string> row = {absl::FormatTime("%Y-%m-%d %H:%M:%S", ToTime(record.time()), zone), record.caller(),
                                    record.method().substr(record.method().rfind('.') + 1), record.resource(),
                                    record.code()};
    if (wide) row.insert(row.end(), {record.reason(), record.peer(), absl::StrCat(record.sequence())});
    table.Add(std::move(row));
  }
  return table;
}

Table AdapterTable(const std::vector<v1::Adapter>& adapters, bool wide, absl::Time now) {
  std::vector<std::string> headers = {"NAME", "JOB", "STEP", "SIZE", "DEV-ACC", "TEST-ACC", "AGE"};
  if (wide) headers.insert(headers.end(), {"MULTIPLIERS", "BASE-MODEL"});
  Table table(std::move(headers));
  for (const v1::Adapter& adapter : adapters) {
    std::vector<std::string> row = {
        ShortName(adapter.name()),     ShortName(adapter.job()), absl::StrCat(adapter.step()),   Bytes(adapter.bytes()),
        Percent(adapter.validation()), Percent(adapter.test()),  Age(adapter.create_time(), now)};
    if (wide) row.insert(row.end(), {absl::StrCat(adapter.multipliers()), adapter.base_model_digest()});
    table.Add(std::move(row));
  }
  return table;
}

}  // namespace qzo::client
