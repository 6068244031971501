#include "server/live_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace qzo::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Job = v1::FineTuningJob;

JobView View(const std::string& id, Job::State state) {
  JobView view{.project = "p", .id = id, .state = state, .items = 8};
  view.progress.set_step(3);
  view.progress.set_total_steps(10);
  view.progress.set_train_loss(0.5);
  view.quiet = absl::Seconds(state == Job::RUNNING ? 2 : 0);
  return view;
}

class JobMetricsTest : public ::testing::Test {
 protected:
  std::string Shown(size_t limit) {
    return prometheus::TextSerializer().Serialize(JobMetrics([this] { return jobs_; }, limit).Collect());
  }
  static std::vector<std::string> LabelledLines(const std::string& text) {
    std::vector<std::string> lines = absl::StrSplit(text, '\n');
    std::erase_if(lines, [](const std::string& line) { return line.find("project=") == std::string::npos; });
    return lines;
  }
  std::vector<JobView> jobs_;
};

TEST_F(JobMetricsTest, AJobHasSeriesUntilItEnds) {
  jobs_ = {View("a", Job::RUNNING)};
  jobs_.front().progress.mutable_last_validation()->set_loss(0.25);
  EXPECT_THAT(Shown(20), AllOf(HasSubstr("\nqzo_job_step{project=\"p\",name=\"a\"} 3\n"),
                               HasSubstr("\nqzo_job_steps{project=\"p\",name=\"a\"} 10\n"),
                               HasSubstr("\nqzo_job_train_loss{project=\"p\",name=\"a\"} 0.5\n"),
                               HasSubstr("\nqzo_job_validation_loss{project=\"p\",name=\"a\"} 0.25\n"),
                               HasSubstr("\nqzo_job_quiet_seconds{project=\"p\",name=\"a\"} 2\n"),
                               HasSubstr("\nqzo_job_stall_seconds 2\n"), HasSubstr("\nqzo_parallel_items 8\n")));
  jobs_.clear();
  EXPECT_THAT(LabelledLines(Shown(20)), IsEmpty());
  EXPECT_THAT(Shown(20), AllOf(HasSubstr("\nqzo_job_stall_seconds 0\n"), HasSubstr("\nqzo_parallel_items 0\n")));
}

TEST_F(JobMetricsTest, LossesThatAreNotKnownAreNotShown) {
  jobs_ = {View("a", Job::RUNNING)};
  jobs_.front().progress.set_step(0);
  EXPECT_THAT(Shown(20), AllOf(Not(HasSubstr("qzo_job_train_loss{")), Not(HasSubstr("qzo_job_validation_loss{"))));
}

TEST_F(JobMetricsTest, TheNumberOfSeriesIsBounded) {
  for (int i = 0; i < 1000; ++i) jobs_.push_back(View(absl::StrCat("job-", i), Job::QUEUED));
  EXPECT_LE(LabelledLines(Shown(20)).size(), 20 * 7);
  EXPECT_THAT(LabelledLines(Shown(0)), IsEmpty());
  EXPECT_THAT(Shown(0), HasSubstr("\nqzo_parallel_items 8000\n"));
}

TEST_F(JobMetricsTest, RunningJobsComeFirst) {
  jobs_ = {View("paused", Job::PAUSED), View("queued", Job::QUEUED), View("running", Job::RUNNING)};
  EXPECT_THAT(Shown(1), AllOf(HasSubstr("name=\"running\""), Not(HasSubstr("name=\"paused\""))));
  EXPECT_THAT(Shown(1), HasSubstr("\nqzo_parallel_items 16\n"));
}

}  // namespace
}  // namespace qzo::server
