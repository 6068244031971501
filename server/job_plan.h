// What a job will cost. Pure; thread-safe.
#ifndef QZO_SERVER_JOB_PLAN_H_
#define QZO_SERVER_JOB_PLAN_H_

#include "method/spec.h"
#include "model/formats/model_info.h"
#include "model/tasks/task.h"
#include "qzo/v1/job.pb.h"
#include "server/coordinator.h"

namespace qzo::server {

// Reports of the splits; rows = 0 for one that the job does not have.
struct SplitReports {
  model::DatasetReport training;
  model::DatasetReport validation;
  model::DatasetReport test;
};

JobFacts FactsOf(const v1::JobSpec& spec, const method::MethodSpec& method, const SplitReports& reports);
v1::Plan PlanOf(const v1::JobSpec& spec, const method::MethodSpec& method, const model::ModelInfo& model,
                const SplitReports& reports);

}  // namespace qzo::server

#endif  // QZO_SERVER_JOB_PLAN_H_
