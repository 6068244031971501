// What people read about a job: one line while it runs, a table when it has ended. Pure.
#ifndef QZO_CLIENT_REPORT_H_
#define QZO_CLIENT_REPORT_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "qzo/v1/adapter.pb.h"
#include "qzo/v1/job.pb.h"

namespace qzo::client {

// "[=====>    ] 120/200  loss 0.412  dev 93.1%  8.1k tok/s  eta 2m10s  sent 61 KiB", cut to `columns`; a job that does
// not run shows its state and message instead of rates.
std::string ProgressLine(const v1::FineTuningJob& job, int columns);

// One event on one line, in local time: "15:04:05 INFO  step 12: loss 0.6931, learning rate 0.02".
std::string EventLine(const v1::JobEvent& event, absl::TimeZone zone);

// How a job ended: figures before → after, costs, and the adapter (optional).
std::string FinalReport(const v1::FineTuningJob& job, const v1::Adapter* adapter);

// Everything about a job, for `describe`.
std::string DescribeJob(const v1::FineTuningJob& job, const std::vector<v1::Evaluation>& evaluations, absl::Time now);

// What a job will cost. `seconds_per_step` is a measure of one local worker, 0 = none was taken.
std::string PlanReport(const v1::FineTuningJob& job, double seconds_per_step);

// Figures of one evaluation, a line each.
std::string EvaluationReport(const v1::Evaluation& evaluation, const v1::Task& task);

}  // namespace qzo::client

#endif  // QZO_CLIENT_REPORT_H_
