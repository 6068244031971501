#include "server/page/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"

namespace qzo::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
constexpr char kHostile[] = "</td><script>alert(1)</script>\" onload='x' &amp;";

v1::FineTuningJob Job(const std::string& name) {
  v1::FineTuningJob job;
  job.set_name("projects/p/jobs/" + name);
  job.set_state(v1::FineTuningJob::RUNNING);
  job.mutable_progress()->set_step(20);
  job.mutable_progress()->set_total_steps(80);
  job.mutable_progress()->set_train_loss(0.25);
  job.mutable_progress()->mutable_eta()->set_seconds(90);
  job.mutable_create_time()->set_seconds(absl::ToUnixSeconds(kNow) - 120);
  return job;
}

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Html, LiteralsAreMarkupAndValuesAreText) {
  Html html;
  html << "<b title=\"" << std::string("a\"b'c") << "\">" << std::string("1 < 2 & 3") << 4 << "</b>";
  EXPECT_EQ(html.text(), "<b title=\"a&quot;b&#39;c\">1 &lt; 2 &amp; 34</b>");
  EXPECT_EQ(EscapeHtml(std::string_view("a\0b\n", 4)),
            "a\xEF\xBF\xBD"
            "b\n");
}

// Every text field of every message, set by whoever can: as many tags come out as without it.
void Fill(google::protobuf::Message* message, const std::string& text, int depth = 0) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = message->GetDescriptor()->field(i);
    if (field->is_map()) continue;
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
      if (field->is_repeated())
        reflection.AddString(message, field, text);
      else
        reflection.SetString(message, field, text);
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE && depth < 3 &&
               !field->is_repeated()) {
      Fill(reflection.MutableMessage(message, field), text, depth + 1);
    }
  }
}

std::string EveryPage(const std::string& text) {
  JobsData jobs;
  jobs.jobs.emplace_back();
  Fill(&jobs.jobs[0], text);
  jobs.jobs[0].set_state(v1::FineTuningJob::RUNNING);
  jobs.curves[text] = {.total_steps = 2, .training = {{1, 0.5}, {2, 0.25}}, .validation = {}};
  jobs.next_page_token = text;
  JobData job;
  job.job = jobs.jobs[0];
  job.job.mutable_progress()->set_step(1);
  Fill(job.job.add_pipelines()->add_stages(), text);
  job.workers.emplace_back();
  Fill(&job.workers[0], text);
  job.evaluations.emplace_back();
  Fill(&job.evaluations[0], text);
  for (int i = 0; i < 2; ++i) Fill(&job.events.emplace_back(), text);
  job.events[1].clear_message();
  return absl::StrCat(Page(text, JobsBody(jobs, kNow), true), Page(text, JobBody(job, kNow), true),
                      Page(text, WorkersBody(job.workers, kNow), true), Page(text, SignInBody(text), false),
                      Page(text, ErrorBody(absl::NotFoundError(text)), false));
}

TEST(Views, NothingThatUsersNameCanBecomeMarkup) {
  const std::string hostile = EveryPage(kHostile), harmless = EveryPage("name");
  EXPECT_GT(Count(hostile, "&lt;script&gt;alert(1)"), 20u);
  EXPECT_THAT(hostile, AllOf(Not(HasSubstr("<script>alert")), Not(HasSubstr("onload='x'"))));
  for (const char* part : {"<", ">", "\""}) EXPECT_EQ(Count(hostile, part), Count(harmless, part)) << part;
}

TEST(Views, AListShowsHowFarJobsAre) {
  JobsData data;
  data.jobs = {Job("spam"), Job("chat")};
  data.curves["projects/p/jobs/spam"] = {.total_steps = 80, .training = {{1, 0.7}, {20, 0.25}}, .validation = {}};
  data.next_page_token = "next";
  const std::string html = JobsBody(data, kNow).text();
  EXPECT_THAT(html, AllOf(HasSubstr("<a href=\"/projects/p/jobs/spam\">spam</a>"), HasSubstr("20/80"),
                          HasSubstr("<progress value=\"20\" max=\"80\" aria-label=\"20 of 80 steps\">"),
                          HasSubstr("1m30s"), HasSubstr("2m ago"), HasSubstr("href=\"/?page=next\"")));
  EXPECT_EQ(Count(html, "<svg"), 1u);
}

TEST(Views, AJobThatFailedSaysWhy) {
  JobData data;
  data.job = Job("spam");
  data.job.set_state(v1::FineTuningJob::FAILED);
  data.job.mutable_error()->set_message("the loss was not finite");
  EXPECT_THAT(JobBody(data, kNow).text(),
              AllOf(HasSubstr("class=\"state FAILED\">FAILED"), HasSubstr("the loss was not finite"),
                    HasSubstr("No step has been measured yet"), Not(HasSubstr("Ends in about"))));
}

TEST(Views, AModelInStagesShowsWhoHoldsWhichLayers) {
  JobData data;
  data.job = Job("spam");
  EXPECT_THAT(JobBody(data, kNow).text(), Not(HasSubstr("Pipelines")));
  v1::Pipeline& pipeline = *data.job.add_pipelines();
  for (uint32_t i = 0; i < 2; ++i) {
    v1::Pipeline::Stage& stage = *pipeline.add_stages();
    stage.set_worker(absl::StrCat("workers/w", i));
    stage.set_first_layer(3 * i);
    stage.set_end_layer(3 * i + 3);
  }
  EXPECT_THAT(JobBody(data, kNow).text(), AllOf(HasSubstr("<th scope=\"row\">w0</th><td>0 to 2</td>"),
                                                HasSubstr("<th scope=\"row\">w1</th><td>3 to 5</td>")));
}

TEST(LossCurve, SpansItsPointsAndTellsThemInWords) {
  const Curves curves{.total_steps = 10, .training = {{1, 2.0}, {5, 1.0}}, .validation = {{0, 1.5}, {5, 1.25}}};
  const std::string svg = LossCurve(curves).text();
  // The plot is 650 wide from 56 and 200 high from 10; the range of losses, 1 to 2, has a margin of 0.05 on both sides.
  EXPECT_THAT(svg, HasSubstr("<polyline class=\"training\" points=\"121.0,19.1 381.0,200.9\"/>"));
  EXPECT_EQ(Count(svg, "<circle"), 2u);
  EXPECT_THAT(svg, HasSubstr("Training loss from 2 to 1. Validation loss from 1.5 to 1.25."));
}

TEST(LossCurve, LeavesOutWhatIsNotFiniteAndAveragesWhatIsTooDense) {
  Curves curves{.total_steps = 3000, .training = {}, .validation = {{1, NAN}}};
  for (uint32_t step = 1; step <= 3000; ++step) curves.training.push_back({step, step % 2 == 0 ? 1.0 : 2.0});
  curves.training.push_back({3000, INFINITY});
  const std::string svg = LossCurve(curves).text();
  EXPECT_EQ(Count(svg, "<circle"), 0u);
  EXPECT_THAT(svg, AllOf(Not(HasSubstr("nan")), Not(HasSubstr("inf,")), HasSubstr("from 1.5 to 1.5")));
  const size_t begin = svg.find("points=\"") + 8;
  EXPECT_EQ(Count(svg.substr(begin, svg.find('"', begin) - begin), ","), 500u);
}

}  // namespace
}  // namespace qzo::server
