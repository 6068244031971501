// The forms in which resources are printed. Pure.
#ifndef QZO_CLIENT_OUTPUT_H_
#define QZO_CLIENT_OUTPUT_H_

#include <google/protobuf/message.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/table.h"
#include "qzo/v1/adapter.pb.h"
#include "qzo/v1/audit.pb.h"
#include "qzo/v1/dataset.pb.h"
#include "qzo/v1/job.pb.h"
#include "qzo/v1/model.pb.h"
#include "qzo/v1/token.pb.h"
#include "qzo/v1/worker.pb.h"

namespace qzo::client {

enum class OutputFormat { kTable, kWide, kJson, kYaml, kName };

// Proto JSON, on one line or indented.
std::string ToJson(const google::protobuf::Message& message, bool one_line);
// The same as YAML.
std::string ToYaml(const google::protobuf::Message& message);
std::string JsonToYaml(const nlohmann::ordered_json& json);

// One row per resource; `wide` adds columns.
Table JobTable(const std::vector<v1::FineTuningJob>& jobs, bool wide, absl::Time now);
Table WorkerTable(const std::vector<v1::Worker>& workers, bool wide, absl::Time now);
Table DatasetTable(const std::vector<v1::Dataset>& datasets, bool wide, absl::Time now);
Table ModelTable(const std::vector<v1::Model>& models, bool wide, absl::Time now);
Table TokenTable(const std::vector<v1::Token>& tokens, bool wide, absl::Time now);
Table AuditTable(const std::vector<v1::AuditRecord>& records, bool wide, absl::TimeZone zone);
Table AdapterTable(const std::vector<v1::Adapter>& adapters, bool wide, absl::Time now);

}  // namespace qzo::client

#endif  // QZO_CLIENT_OUTPUT_H_
