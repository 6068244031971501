// Between the API's messages and the plain structs of method/ and model/tasks. Pure; thread-safe.
#ifndef QZO_PROTO_SPEC_CONVERT_H_
#define QZO_PROTO_SPEC_CONVERT_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "method/spec.h"
#include "model/tasks/builtin_tasks.h"
#include "model/tasks/evaluation.h"
#include "model/tasks/task.h"
#include "qzo/v1/job.pb.h"

namespace qzo::rpc {

// Fills in every field of `method` that was left out from its preset; `rows` is the training set's size (for epochs).
// All violations at once as "method.field: found, expected" lines.
absl::Status ResolveMethod(int64_t rows, v1::Method* method);

// Of a resolved method. INVALID_ARGUMENT as MethodSpec::Validate.
absl::StatusOr<method::MethodSpec> ToMethodSpec(const v1::Method& method);
v1::Method ToProto(const method::MethodSpec& spec);

// Fills in what the task's template says, where it names a built-in one, and then defaults: label_field, sequence_len
// and, given the model's, chat_format.
void ResolveTask(const model::TaskDefaults& defaults, v1::Task* task);
// Violations as "task.field: …" lines.
absl::StatusOr<model::TaskSpec> ToTaskSpec(const v1::Task& task);
v1::Task ToProto(const model::TaskSpec& spec);

v1::Evaluation ToProto(const model::EvalSums& sums, uint32_t step, const std::string& split);

}  // namespace qzo::rpc

#endif  // QZO_PROTO_SPEC_CONVERT_H_
