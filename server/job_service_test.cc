#include "server/job_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "server/test_server.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Job = v1::FineTuningJob;

class JobServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(server_.UploadModel("stories", StoriesModel()));
    ASSERT_OK(server_.UploadDataset("train", Rows(40)));
    ASSERT_OK(server_.UploadDataset("held-out", Rows(70)));
  }
  absl::StatusOr<Job> Create(const v1::CreateJobRequest& request) {
    return server_.Call(server_.jobs, &v1::JobService::Stub::CreateJob, request);
  }
  // The violations of a request that must be refused, by field.
  std::map<std::string, std::string> Violations(const v1::CreateJobRequest& request) {
    const absl::Status status = Create(request).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
    EXPECT_EQ(rpc::ReasonOf(status), "INVALID_JOB");
    std::map<std::string, std::string> violations;
    if (const auto details = rpc::BadRequestOf(status)) {
      for (const auto& violation : details->field_violations()) violations[violation.field()] = violation.description();
    }
    return violations;
  }
  template <typename Request>
  absl::StatusOr<Job> Steer(grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*, const Request&, Job*),
                            const std::string& name) {
    Request request;
    request.set_name(name);
    return server_.Call(server_.jobs, method, request);
  }
  absl::StatusOr<Job> Cancel(const std::string& name) { return Steer(&v1::JobService::Stub::CancelJob, name); }
  absl::StatusOr<Job> Pause(const std::string& name) { return Steer(&v1::JobService::Stub::PauseJob, name); }
  absl::StatusOr<Job> Resume(const std::string& name) { return Steer(&v1::JobService::Stub::ResumeJob, name); }
  absl::StatusOr<Job> Retry(const std::string& name) { return Steer(&v1::JobService::Stub::RetryJob, name); }
  absl::Status Delete(const std::string& name, bool force) {
    v1::DeleteJobRequest request;
    request.set_name(name);
    request.set_force(force);
    return server_.Call(server_.jobs, &v1::JobService::Stub::DeleteJob, request).status();
  }
  absl::Status DeleteDataset(const std::string& name) {
    v1::DeleteDatasetRequest request;
    request.set_name(name);
    return server_.Call(server_.datasets, &v1::DatasetService::Stub::DeleteDataset, request).status();
  }

  TestServer server_;
};

TEST_F(JobServiceTest, EveryFieldLeftOutIsFilledIn) {
  v1::CreateJobRequest request = JobRequest("j");
  request.mutable_job()->set_display_name("First");
  (*request.mutable_job()->mutable_labels())["team"] = "a";
  request.mutable_job()->mutable_spec()->set_validation_dataset("projects/p/datasets/held-out");
  ASSERT_OK_AND_ASSIGN(const Job job, Create(request));
  EXPECT_EQ(job.name(), "projects/p/jobs/j");
  EXPECT_EQ(job.display_name(), "First");
  EXPECT_EQ(job.labels().at("team"), "a");
  EXPECT_EQ(job.state(), Job::QUEUED);
  EXPECT_NE(job.uid(), "");
  const v1::JobSpec& spec = job.spec();
  EXPECT_EQ(spec.base_model_digest().size(), 64u);
  EXPECT_EQ(spec.training_digest().size(), 64u);
  EXPECT_EQ(spec.validation_digest().size(), 64u);
  EXPECT_EQ(spec.test_digest(), "");
  EXPECT_EQ(spec.task().label_field(), "label");
  EXPECT_EQ(spec.task().sequence_len(), 512);
  EXPECT_EQ(spec.method().preset(), v1::DEFAULT);
  EXPECT_EQ(spec.method().granularity(), v1::CHANNEL);
  EXPECT_EQ(spec.method().micro_batches(), 1u);
  EXPECT_EQ(spec.evaluation().eval_steps(), 1u);
  EXPECT_EQ(spec.evaluation().snapshot_steps(), 1000u);
  EXPECT_TRUE(spec.evaluation().has_eval_rows());
  EXPECT_EQ(spec.placement().min_workers(), 1u);
  ASSERT_OK_AND_ASSIGN(const Job got, server_.GetJob(job.name()));
  EXPECT_EQ(got.spec().SerializeAsString(), spec.SerializeAsString());
}

TEST_F(JobServiceTest, ThePlanSaysWhatTheJobCosts) {
  v1::CreateJobRequest request = JobRequest("j");
  request.mutable_job()->mutable_spec()->mutable_method()->set_micro_batches(2);
  ASSERT_OK_AND_ASSIGN(const Job job, Create(request));
  const v1::Plan& plan = job.plan();
  EXPECT_EQ(plan.steps(), 4u);
  EXPECT_EQ(plan.items_per_step(), 4u);
  EXPECT_GT(plan.multipliers(), 0);
  EXPECT_EQ(plan.training_tokens() % 4, 0);
  EXPECT_GT(plan.training_tokens(), 4 * 2 * 2 * 4 * plan.longest_row_tokens() / 2)
      << "steps, probes, lanes, rows, tokens";
  EXPECT_EQ(plan.evaluation_tokens(), 0);
  EXPECT_GT(plan.worker_memory_bytes(), 242'176) << "at least the model file";
  EXPECT_GT(plan.payload_bytes_per_step(), 64);
  EXPECT_LT(plan.payload_bytes_per_step(), 150);
  EXPECT_EQ(plan.journal_bytes(), 4 * 2 * 8);
  EXPECT_THAT(plan.label_counts(), ElementsAre(20, 20));
}

TEST_F(JobServiceTest, ValidateOnlyAnswersAsIfAndStoresNothing) {
  v1::CreateJobRequest request = JobRequest("j");
  request.set_validate_only(true);
  ASSERT_OK_AND_ASSIGN(const Job job, Create(request));
  EXPECT_EQ(job.name(), "projects/p/jobs/j");
  EXPECT_EQ(job.plan().steps(), 4u);
  EXPECT_EQ(job.uid(), "");
  EXPECT_THAT(server_.GetJob(job.name()), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(JobServiceTest, ARepeatedRequestReturnsTheSameJobAndATakenIdIsRefused) {
  v1::CreateJobRequest request = JobRequest("");
  request.set_request_id("once");
  ASSERT_OK_AND_ASSIGN(const Job first, Create(request));
  ASSERT_OK_AND_ASSIGN(const Job second, Create(request));
  EXPECT_EQ(second.name(), first.name());
  EXPECT_EQ(second.uid(), first.uid());
  ASSERT_OK(Create(JobRequest("j")));
  const absl::Status taken = Create(JobRequest("j")).status();
  EXPECT_THAT(taken, StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("projects/p/jobs/j")));
  EXPECT_EQ(rpc::ReasonOf(taken), "JOB_EXISTS");
}

TEST_F(JobServiceTest, AllViolationsComeAtOnce) {
  v1::CreateJobRequest request = JobRequest("j");
  v1::JobSpec& spec = *request.mutable_job()->mutable_spec();
  spec.set_test_dataset("held-out");
  spec.mutable_method()->set_probes(65);
  spec.mutable_method()->set_epochs(2);
  spec.mutable_method()->set_epsilon(-1);
  spec.mutable_evaluation()->set_early_stopping_patience(3);
  spec.mutable_placement()->set_min_workers(0);
  spec.mutable_placement()->set_priority(101);
  spec.mutable_placement()->set_kind(std::string(65, 'x'));
  spec.mutable_placement()->set_stages(6);
  const auto violations = Violations(request);
  EXPECT_TRUE(violations.contains("test_dataset"));
  EXPECT_THAT(violations.at("method.probes"), HasSubstr("65"));
  EXPECT_TRUE(violations.contains("method.epochs"));
  EXPECT_TRUE(violations.contains("method.epsilon"));
  EXPECT_THAT(violations.at("evaluation.early_stopping_patience"), HasSubstr("validation_dataset"));
  EXPECT_TRUE(violations.contains("placement.min_workers"));
  EXPECT_THAT(violations.at("placement.priority"), HasSubstr("-100 to 100"));
  EXPECT_TRUE(violations.contains("placement.kind"));
  EXPECT_THAT(violations.at("placement.stages"), HasSubstr("6, expected at most 5"));
  EXPECT_EQ(violations.size(), 9u);
}

TEST_F(JobServiceTest, RowsThatTheTaskCannotReadAreNamed) {
  ASSERT_OK(server_.UploadDataset("mixed", Rows(2) + "{\"text\":\"x\",\"label\":2}\n{\"txt\":\"x\",\"label\":0}\n"));
  v1::CreateJobRequest request = JobRequest("j");
  request.mutable_job()->mutable_spec()->set_validation_dataset("projects/p/datasets/mixed");
  request.mutable_job()->mutable_spec()->mutable_method()->set_steps(0);
  const auto violations = Violations(request);
  ASSERT_EQ(violations.size(), 3u) << "two rows and the steps";
  std::string all;
  for (const auto& [field, description] : violations) all += field + ": " + description + "\n";
  EXPECT_THAT(all, AllOf(HasSubstr("projects/p/datasets/mixed:3:"), HasSubstr("projects/p/datasets/mixed:4:"),
                         HasSubstr("txt"), HasSubstr("method.steps: 0")));
}

TEST_F(JobServiceTest, TheTaskMustBeSoundAndFitTheModel) {
  v1::CreateJobRequest request = JobRequest("j");
  request.mutable_job()->mutable_spec()->clear_task();
  EXPECT_TRUE(Violations(request).contains("task.kind"));
  request = JobRequest("j");
  request.mutable_job()->mutable_spec()->mutable_task()->set_sequence_len(4096);
  EXPECT_THAT(Violations(request).at("task.sequence_len"), HasSubstr("4096, expected at most 512"));
}

TEST_F(JobServiceTest, TheMethodMustFitTheModel) {
  // Its feed-forward length is no multiple of a block, so the file holds some of the trained weights as floats.
  v1::CreateJobRequest request = JobRequest("paper");
  request.mutable_job()->mutable_spec()->mutable_method()->set_preset(v1::QZO_PAPER);
  EXPECT_THAT(Violations(request).at("method.mode"), HasSubstr("expected RELATIVE"));
  request = JobRequest("balanced");
  request.mutable_job()->mutable_spec()->mutable_method()->set_sampling(v1::BALANCED);
  EXPECT_OK(Create(request));
}

TEST_F(JobServiceTest, WhatIsNamedMustExist) {
  v1::CreateJobRequest request = JobRequest("j");
  request.mutable_job()->mutable_spec()->set_base_model("projects/p/models/none");
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kNotFound, HasSubstr("projects/p/models/none")));
  request = JobRequest("j");
  request.mutable_job()->mutable_spec()->set_training_dataset("projects/p/datasets/none");
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kNotFound, HasSubstr("projects/p/datasets/none")));
  v1::CreateJobRequest empty;
  empty.set_parent("projects/p");
  const auto violations = Violations(empty);
  EXPECT_TRUE(violations.contains("base_model"));
  EXPECT_TRUE(violations.contains("training_dataset"));
  EXPECT_TRUE(violations.contains("task.kind"));
}

TEST_F(JobServiceTest, TheRequestItselfIsChecked) {
  v1::CreateJobRequest request = JobRequest("Not-An-Id");
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("job_id")));
  request = JobRequest("j");
  request.set_parent("projects/-");
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parent")));
  request = JobRequest("j");
  request.mutable_job()->set_display_name(std::string(257, 'x'));
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("job.display_name")));
  request = JobRequest("j");
  (*request.mutable_job()->mutable_labels())[""] = "a";
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("job.labels")));
}

TEST_F(JobServiceTest, JobsAreSteeredAsTheirStateAllows) {
  ASSERT_OK_AND_ASSIGN(Job job, Create(JobRequest("j")));
  EXPECT_THAT(Resume(job.name()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("QUEUED")));
  EXPECT_THAT(Retry(job.name()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("QUEUED")));
  ASSERT_OK_AND_ASSIGN(job, Pause(job.name()));
  EXPECT_EQ(job.state(), Job::PAUSED);
  EXPECT_THAT(Pause(job.name()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("PAUSED")));
  ASSERT_OK_AND_ASSIGN(job, Resume(job.name()));
  EXPECT_EQ(job.state(), Job::QUEUED);
  ASSERT_OK_AND_ASSIGN(job, Cancel(job.name()));
  EXPECT_EQ(job.state(), Job::CANCELLED);
  const absl::Status again = Cancel(job.name()).status();
  EXPECT_THAT(again, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("CANCELLED")));
  EXPECT_EQ(rpc::ReasonOf(again), "WRONG_JOB_STATE");
  ASSERT_OK_AND_ASSIGN(job, Retry(job.name()));
  EXPECT_EQ(job.state(), Job::QUEUED);
  for (const char* name : {"j", "projects/p/datasets/train"}) {
    EXPECT_THAT(Cancel(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("projects/{project}/jobs/{job}")));
  }
  EXPECT_THAT(Cancel("projects/p/jobs/none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("projects/p/jobs/none")));
}

TEST_F(JobServiceTest, OnlyEndedJobsAreDeletedUnlessForced) {
  ASSERT_OK_AND_ASSIGN(const Job a, Create(JobRequest("a")));
  EXPECT_THAT(Delete(a.name(), false), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("QUEUED")));
  ASSERT_OK(Delete(a.name(), true));
  EXPECT_THAT(server_.GetJob(a.name()), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_THAT(Delete(a.name(), true), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  ASSERT_OK_AND_ASSIGN(const Job b, Create(JobRequest("b")));
  ASSERT_OK(Cancel(b.name()));
  EXPECT_OK(Delete(b.name(), false));
}

TEST_F(JobServiceTest, AJobWhoseInputsAreGoneCannotBeRetried) {
  ASSERT_OK_AND_ASSIGN(const Job job, Create(JobRequest("j")));
  EXPECT_THAT(DeleteDataset("projects/p/datasets/train"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("a job that has not ended uses it")));
  ASSERT_OK(Cancel(job.name()));
  ASSERT_OK(DeleteDataset("projects/p/datasets/train"));
  const absl::Status status = Retry(job.name()).status();
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("projects/p/datasets/train was deleted")));
  EXPECT_EQ(rpc::ReasonOf(status), "INPUT_DELETED");
}

TEST_F(JobServiceTest, ListsPageAndFilterByState) {
  for (const char* id : {"a", "b", "c"}) ASSERT_OK(Create(JobRequest(id)));
  ASSERT_OK(Cancel("projects/p/jobs/b"));
  v1::ListJobsRequest request;
  request.set_parent("projects/p");
  request.add_states(Job::QUEUED);
  request.set_page_size(1);
  std::vector<std::string> names;
  do {
    ASSERT_OK_AND_ASSIGN(const auto page, server_.Call(server_.jobs, &v1::JobService::Stub::ListJobs, request));
    for (const Job& job : page.jobs()) names.push_back(job.name());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(names, ElementsAre("projects/p/jobs/c", "projects/p/jobs/a"));
  request.Clear();
  request.set_parent("projects/other");
  ASSERT_OK_AND_ASSIGN(const auto none, server_.Call(server_.jobs, &v1::JobService::Stub::ListJobs, request));
  EXPECT_EQ(none.jobs_size(), 0);
}

TEST_F(JobServiceTest, EventsPageInOrder) {
  ASSERT_OK_AND_ASSIGN(const Job job, Create(JobRequest("j")));
  ASSERT_OK(Pause(job.name()));
  ASSERT_OK(Cancel(job.name()));
  v1::ListJobEventsRequest request;
  request.set_parent(job.name());
  request.set_page_size(1);
  uint64_t expected = 0;
  do {
    ASSERT_OK_AND_ASSIGN(const auto page, server_.Call(server_.jobs, &v1::JobService::Stub::ListJobEvents, request));
    ASSERT_EQ(page.events_size(), 1);
    EXPECT_EQ(page.events(0).sequence(), ++expected);
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_GE(expected, 3u) << "created, paused, cancelled";
  request.set_parent("projects/p/jobs/none");
  EXPECT_THAT(server_.Call(server_.jobs, &v1::JobService::Stub::ListJobEvents, request),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(JobServiceTest, JobsOutliveTheServer) {
  ASSERT_OK_AND_ASSIGN(const Job job, Create(JobRequest("j")));
  server_.Stop();
  server_.Start();
  ASSERT_OK_AND_ASSIGN(const Job recovered, server_.GetJob(job.name()));
  EXPECT_EQ(recovered.uid(), job.uid());
  EXPECT_EQ(recovered.state(), Job::QUEUED);
  EXPECT_EQ(recovered.spec().SerializeAsString(), job.spec().SerializeAsString());
}

}  // namespace
}  // namespace qzo::server
