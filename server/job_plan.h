// Whether a method fits a model, and what the job will cost. Pure; thread-safe.
#ifndef QZO_SERVER_JOB_PLAN_H_
#define QZO_SERVER_JOB_PLAN_H_

#include "absl/status/status.h"
#include "method/spec.h"
#include "model/formats/model_info.h"
#include "model/tasks/task.h"
#include "qzo/v1/job.pb.h"
#include "server/coordinator.h"

namespace qzo::server {

// Absolute mode needs a stored scale for every multiplier. INVALID_ARGUMENT as a "method.field: found, expected" line.
// `have_scales`: no trained tensor is stored as plain floats.
absl::Status CheckMode(const method::MethodSpec& method, const model::ModelInfo& model, bool have_scales);

// Reports of the splits; rows = 0 for one that the job does not have.
struct SplitReports {
  model::DatasetReport training;
  model::DatasetReport validation;
  model::DatasetReport test;
};

JobFacts FactsOf(const v1::JobSpec& spec, const method::MethodSpec& method, const model::ModelInfo& model,
                 const SplitReports& reports);
v1::Plan PlanOf(const v1::JobSpec& spec, const method::MethodSpec& method, const model::ModelInfo& model,
                const SplitReports& reports);

}  // namespace qzo::server

#endif  // QZO_SERVER_JOB_PLAN_H_
