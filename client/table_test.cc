#include "client/table.h"

#include <gtest/gtest.h>

#include "client/output.h"

namespace qzo::client {
namespace {

TEST(Table, AlignsColumnsByCharactersAndTrimsNothingElse) {
  Table table({"NAME", "STEP"});
  table.Add({"grün", "1"});
  table.Add({"a-long-name", ""});
  EXPECT_EQ(table.Render(),
            "NAME          STEP\n"
            "grün          1\n"
            "a-long-name   -\n");
  EXPECT_EQ(table.Render(false), "grün          1\na-long-name   -\n");
}

TEST(ShortDuration, NamesTheTwoLargestUnits) {
  EXPECT_EQ(ShortDuration(absl::Seconds(-3)), "0s");
  EXPECT_EQ(ShortDuration(absl::Milliseconds(59900)), "59s");
  EXPECT_EQ(ShortDuration(absl::Seconds(60)), "1m");
  EXPECT_EQ(ShortDuration(absl::Seconds(192)), "3m12s");
  EXPECT_EQ(ShortDuration(absl::Minutes(125)), "2h5m");
  EXPECT_EQ(ShortDuration(absl::Hours(97)), "4d1h");
}

TEST(ShortName, IsTheLastSegment) {
  EXPECT_EQ(ShortName("projects/p/jobs/j"), "j");
  EXPECT_EQ(ShortName("j"), "j");
}

v1::FineTuningJob SampleJob() {
  v1::FineTuningJob job;
  job.set_name("projects/p/jobs/j");
  job.set_state(v1::FineTuningJob::RUNNING);
  job.set_reason("STEPPING");
  job.mutable_create_time()->set_seconds(1000);
  job.mutable_spec()->set_base_model("projects/p/models/m");
  v1::Progress& progress = *job.mutable_progress();
  progress.set_step(12);
  progress.set_total_steps(200);
  progress.set_train_loss(0.69314);
  progress.set_workers(2);
  progress.mutable_eta()->set_seconds(130);
  progress.set_tokens_per_second(1234.5);
  progress.set_payload_down_bytes(1024);
  progress.set_payload_up_bytes(1024);
  return job;
}

TEST(JobTable, ShowsProgressAndLeavesUnknownFiguresOpen) {
  const absl::Time now = absl::FromUnixSeconds(1090);
  EXPECT_EQ(JobTable({SampleJob()}, false, now).Render(),
            "NAME   STATE     REASON     STEP     LOSS     DEV-ACC   ETA     WORKERS   AGE\n"
            "j      RUNNING   STEPPING   12/200   0.6931   -         2m10s   2         1m30s\n");
  EXPECT_NE(JobTable({SampleJob()}, true, now).Render().find("m       1234       2.0 KiB   0 B           -"),
            std::string::npos)
      << JobTable({SampleJob()}, true, now).Render();
}

TEST(Output, JsonIsTheProtosOwn) {
  v1::Evaluation evaluation;
  evaluation.set_step(3);
  evaluation.set_split("test");
  EXPECT_EQ(ToJson(evaluation, true), "{\"step\":3,\"split\":\"test\"}\n");
  EXPECT_EQ(ToJson(evaluation, false), "{\n \"step\": 3,\n \"split\": \"test\"\n}\n");
}

TEST(Output, UnknownErrorDetailsDoNoHarm) {
  v1::FineTuningJob job;
  job.mutable_error()->add_details()->set_type_url("type.googleapis.com/of.the.Future");
  EXPECT_NE(ToJson(job, true).find("of.the.Future"), std::string::npos);
  EXPECT_NE(ToYaml(job).find("of.the.Future"), std::string::npos);
}

TEST(Output, YamlKeepsTextsTexts) {
  v1::Task task;
  task.set_kind(v1::CLASSIFICATION);
  task.add_options("no");
  task.add_options("12");
  task.set_sequence_len(64);
  EXPECT_EQ(ToYaml(task), "kind: \"CLASSIFICATION\"\noptions:\n  - \"no\"\n  - \"12\"\nsequenceLen: 64\n");
}

}  // namespace
}  // namespace qzo::client
