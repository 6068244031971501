#include "client/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/table.h"

namespace qzo::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::Evaluation TestEvaluation(double accuracy, double macro, double f1) {
  v1::Evaluation e;
  e.set_split("test");
  e.set_rows(1000);
  e.set_loss(0.5);
  e.set_accuracy(accuracy);
  e.set_accuracy_low(accuracy - 0.01);
  e.set_accuracy_high(accuracy + 0.01);
  e.set_macro_f1(macro);
  e.add_f1(0.99);
  e.add_f1(f1);
  e.set_majority_accuracy(0.866);
  return e;
}

v1::FineTuningJob SampleJob() {
  v1::FineTuningJob job;
  job.set_name("projects/p/jobs/spam");
  job.set_state(v1::FineTuningJob::RUNNING);
  v1::Progress& progress = *job.mutable_progress();
  progress.set_step(50);
  progress.set_total_steps(200);
  progress.set_train_loss(0.4123456);
  progress.set_tokens_per_second(8123);
  progress.mutable_eta()->set_seconds(130);
  progress.set_payload_down_bytes(40000);
  progress.set_payload_up_bytes(22464);
  return job;
}

TEST(ProgressLine, ShowsRatesOfARunningJob) {
  v1::FineTuningJob job = SampleJob();
  EXPECT_EQ(ProgressLine(job, 0), "[=====>              ] 50/200  loss 0.4123  8.1k tok/s  eta 2m10s  sent 61 KiB");
  *job.mutable_progress()->mutable_last_validation() = TestEvaluation(0.931, 0.9, 0.9);
  EXPECT_THAT(ProgressLine(job, 0), HasSubstr("dev 93.10%"));
}

TEST(ProgressLine, ShowsWhyAJobWaits) {
  v1::FineTuningJob job = SampleJob();
  job.set_state(v1::FineTuningJob::QUEUED);
  job.set_message("no worker is attached");
  EXPECT_THAT(ProgressLine(job, 0), HasSubstr("QUEUED  no worker is attached"));
  EXPECT_THAT(ProgressLine(job, 0), Not(HasSubstr("tok/s")));
}

TEST(ProgressLine, FitsTheTerminal) {
  v1::FineTuningJob job = SampleJob();
  job.set_state(v1::FineTuningJob::QUEUED);
  job.set_message("größer");
  const int whole = static_cast<int>(DisplayWidth(ProgressLine(job, 0)));
  for (int columns = 1; columns <= whole; ++columns) {
    EXPECT_LE(DisplayWidth(ProgressLine(job, columns)), static_cast<size_t>(columns));
  }
  EXPECT_THAT(ProgressLine(job, 10), ::testing::EndsWith("…"));
}

TEST(ProgressLine, IsFullAtTheEnd) {
  v1::FineTuningJob job = SampleJob();
  job.mutable_progress()->set_step(200);
  EXPECT_THAT(ProgressLine(job, 0), HasSubstr("[====================] 200/200"));
  EXPECT_THAT(ProgressLine(v1::FineTuningJob(), 0), HasSubstr("] 0/0")) << "a job that is not planned yet";
}

TEST(EventLine, SaysWhatHappened) {
  v1::JobEvent event;
  event.mutable_time()->set_seconds(3661);
  event.set_level(v1::JobEvent::WARN);
  event.set_message("worker w1 has gone");
  EXPECT_EQ(EventLine(event, absl::UTCTimeZone()), "01:01:01 WARN  worker w1 has gone");
  event.clear_message();
  event.mutable_step()->set_step(12);
  event.mutable_step()->set_train_loss(0.5);
  event.mutable_step()->set_learning_rate(0.02);
  EXPECT_THAT(EventLine(event, absl::UTCTimeZone()), HasSubstr("step 12: loss 0.5, learning rate 0.02"));
  *event.mutable_evaluation() = TestEvaluation(0.9, 0.8, 0.7);
  EXPECT_THAT(EventLine(event, absl::UTCTimeZone()), HasSubstr("test loss 0.5, accuracy 90.00%"));
  event.set_state(v1::FineTuningJob::PAUSED);
  EXPECT_THAT(EventLine(event, absl::UTCTimeZone()), HasSubstr("PAUSED"));
}

TEST(FinalReport, ComparesBeforeWithAfter) {
  v1::FineTuningJob job = SampleJob();
  job.set_state(v1::FineTuningJob::SUCCEEDED);
  job.mutable_start_time()->set_seconds(1000);
  job.mutable_end_time()->set_seconds(1192);
  job.mutable_spec()->mutable_task()->add_label_names("ham");
  job.mutable_spec()->mutable_task()->add_label_names("spam");
  v1::Progress& progress = *job.mutable_progress();
  progress.set_step(200);
  *progress.mutable_first_test() = TestEvaluation(0.866, 0.464, 0);
  *progress.mutable_final_test() = TestEvaluation(0.981, 0.957, 0.925);
  progress.set_worker_steps(800);
  progress.set_peak_worker_memory_bytes(300 << 20);
  v1::Adapter adapter;
  adapter.set_name("projects/p/adapters/spam");
  adapter.set_bytes(12 << 10);
  adapter.set_step(180);
  EXPECT_EQ(FinalReport(job, &adapter),
            "spam SUCCEEDED after 200 of 200 steps in 3m12s\n"
            "                        BEFORE                           AFTER\n"
            "test loss               0.5                              0.5\n"
            "test accuracy           86.60% (95%: 85.60% to 87.60%)   98.10% (95%: 97.10% to 99.10%)\n"
            "macro-F1                46.40%                           95.70%\n"
            "F1 of 'spam'            0.00%                            92.50%\n"
            "majority accuracy       86.60%                           86.60%\n"
            "peak worker memory      -                                300 MiB\n"
            "bytes per worker-step   -                                78.1\n"
            "adapter                 -                                spam (12 KiB, step 180)\n");
}

TEST(FinalReport, OfAFailedJobSaysWhy) {
  v1::FineTuningJob job = SampleJob();
  job.set_state(v1::FineTuningJob::FAILED);
  job.set_message("the loss is not finite for 10 steps");
  EXPECT_THAT(FinalReport(job, nullptr),
              HasSubstr("spam FAILED after 50 of 200 steps: the loss is not finite for 10 steps"));
  EXPECT_THAT(FinalReport(job, nullptr), Not(HasSubstr("accuracy")));
}

TEST(PlanReport, SaysWhatAJobCosts) {
  v1::FineTuningJob job;
  job.mutable_spec()->mutable_task()->add_options(" no");
  job.mutable_spec()->mutable_task()->add_options(" yes");
  v1::Plan& plan = *job.mutable_plan();
  plan.set_steps(200);
  plan.set_items_per_step(8);
  plan.set_worker_memory_bytes(300 << 20);
  plan.set_payload_bytes_per_step(150);
  plan.add_label_counts(10);
  plan.add_label_counts(3);
  EXPECT_THAT(PlanReport(job, 0), HasSubstr("200 of 8 items"));
  EXPECT_THAT(PlanReport(job, 0), HasSubstr("no 10, yes 3"));
  EXPECT_THAT(PlanReport(job, 0), HasSubstr("150 bytes a step, 29 KiB in all"));
  EXPECT_THAT(PlanReport(job, 0), Not(HasSubstr("Time")));
  EXPECT_THAT(PlanReport(job, 0.75), HasSubstr("750 ms a step, 2m30s without evaluations"));
}

TEST(PlanReport, SaysWhatEachStageHolds) {
  v1::FineTuningJob job;
  v1::Plan& plan = *job.mutable_plan();
  plan.set_steps(10);
  plan.set_worker_memory_bytes(5 << 20);
  EXPECT_THAT(PlanReport(job, 0), Not(HasSubstr("tage")));
  for (const uint32_t first : {0, 2}) {
    v1::Plan::Stage& stage = *plan.add_stages();
    stage.set_first_layer(first);
    stage.set_end_layer(first == 0 ? 2 : 3);
    stage.set_worker_memory_bytes(2 << 20);
  }
  plan.set_link_bytes_per_step(1 << 20);
  const std::string report = PlanReport(job, 0);
  EXPECT_THAT(report, HasSubstr("layers 0 to 1 in 2.0 MiB, layer 2 in 2.0 MiB"));
  EXPECT_THAT(report, HasSubstr("1.0 MiB a step, 10 MiB in all"));
}

TEST(DescribeJob, SaysWhoHoldsWhichLayers) {
  v1::FineTuningJob job = SampleJob();
  EXPECT_THAT(DescribeJob(job, {}, absl::UnixEpoch()), Not(HasSubstr("Pipeline")));
  v1::Pipeline& pipeline = *job.add_pipelines();
  for (const uint32_t first : {0, 2}) {
    v1::Pipeline::Stage& stage = *pipeline.add_stages();
    stage.set_worker(first == 0 ? "workers/a" : "workers/b");
    stage.set_first_layer(first);
    stage.set_end_layer(first + 2);
  }
  EXPECT_THAT(DescribeJob(job, {}, absl::UnixEpoch()), HasSubstr("Pipeline: a layers 0 to 1, b layers 2 to 3\n"));
}

TEST(EvaluationReport, LeavesOutWhatATaskDoesNotHave) {
  v1::Evaluation e;
  e.set_rows(10);
  e.set_loss(2.5);
  EXPECT_EQ(EvaluationReport(e, v1::Task()), "rows:  10\nloss:  2.5\n");
  EXPECT_THAT(EvaluationReport(TestEvaluation(0.9, 0.8, 0.7), v1::Task()), HasSubstr("F1 of '1':"));
}

}  // namespace
}  // namespace qzo::client
