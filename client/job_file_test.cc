#include "client/job_file.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace qzo::client {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kGood[] = R"(base_model: ../models/tiny.gguf
datasets:
  - {path: train.jsonl, split: train}
  - {name: dev-set, split: validation}
task:
  kind: classification
  prompt: "{text}\nSpam:"
  options: [" no", " yes"]
method: {preset: qzo-paper, steps: 20, learning_rate: 1e-3, seed: 18446744073709551615}
evaluation: {eval_steps: 5}
placement: {min_workers: 2, priority: -3}
name: my-job
labels: {team: search, tier: 2}
)";

absl::StatusOr<JobFile> Parse(std::string_view text, const std::vector<std::string>& overrides = {}) {
  return ParseJobFile(text, "jobs/spam.yaml", "default", overrides);
}

// A file that is right but for `more`, which begins at line 4.
absl::Status ErrorsOf(const std::string& more) {
  return Parse("base_model: m\ndatasets: [{name: d}]\ntask: {kind: chat}\n" + more).status();
}

TEST(JobFile, ReadsEverySection) {
  ASSERT_OK_AND_ASSIGN(const JobFile file, Parse(kGood));
  const v1::JobSpec& spec = file.job.spec();
  EXPECT_EQ(file.job_id, "my-job");
  EXPECT_EQ(file.model_path, "models/tiny.gguf") << "relative to the job file";
  EXPECT_EQ(spec.base_model(), "");
  EXPECT_EQ(file.dataset_paths.at(v1::TRAIN), "jobs/train.jsonl");
  EXPECT_EQ(spec.validation_dataset(), "projects/default/datasets/dev-set");
  EXPECT_EQ(spec.task().kind(), v1::CLASSIFICATION);
  EXPECT_EQ(spec.task().prompt(), "{text}\nSpam:");
  EXPECT_THAT(spec.task().options(), ElementsAre(" no", " yes"));
  EXPECT_EQ(spec.method().preset(), v1::QZO_PAPER);
  EXPECT_EQ(spec.method().steps(), 20u);
  EXPECT_FALSE(spec.method().has_epochs()) << "what is left out stays out";
  EXPECT_DOUBLE_EQ(spec.method().learning_rate(), 1e-3);
  EXPECT_EQ(spec.method().seed(), ~uint64_t{0});
  EXPECT_EQ(spec.placement().priority(), -3);
  EXPECT_EQ(file.job.labels().at("tier"), "2");
}

TEST(JobFile, NamesStandForResourcesOfTheProject) {
  ASSERT_OK_AND_ASSIGN(const JobFile file,
                       Parse("base_model: projects/x/models/m\ndatasets: [{name: d}]\ntask: {kind: chat}"));
  EXPECT_EQ(file.job.spec().base_model(), "projects/x/models/m");
  EXPECT_EQ(file.job.spec().training_dataset(), "projects/default/datasets/d");
  EXPECT_TRUE(file.model_path.empty());
}

TEST(JobFile, OverridesWinAndMayMakeSections) {
  ASSERT_OK_AND_ASSIGN(const JobFile file,
                       Parse("base_model: m\ndatasets: [{name: d}]\ntask: {kind: chat}",
                             {"method.steps=7", "datasets.0.name=e", "task.options=[a, b]", "labels.team=x"}));
  EXPECT_EQ(file.job.spec().method().steps(), 7u);
  EXPECT_EQ(file.job.spec().training_dataset(), "projects/default/datasets/e");
  EXPECT_THAT(file.job.spec().task().options(), ElementsAre("a", "b"));
  EXPECT_EQ(file.job.labels().at("team"), "x");
}

TEST(JobFile, ListsOfNamesAreRead) {
  ASSERT_OK_AND_ASSIGN(const JobFile file, Parse("base_model: m\ndatasets: [{name: d}]\ntask: {kind: chat}\n"
                                                 "method: {train: [scales, unquantized], delta_unit: 0.5}"));
  EXPECT_THAT(file.job.spec().method().train(), ElementsAre(v1::SCALES, v1::UNQUANTIZED));
  EXPECT_EQ(file.job.spec().method().delta_unit(), 0.5f);
}

TEST(JobFile, BadOverridesNameThemselves) {
  const auto error = [](const std::string& assignment) { return Parse(kGood, {assignment}).status(); };
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(error("method.steps=soon"),
              StatusIs(code,
                       "--set method.steps=soon: method.steps: found 'soon', expected a whole "
                       "number from 0"));
  EXPECT_THAT(error("method.stepz=3"), StatusIs(code, HasSubstr("did you mean 'steps'")));
  EXPECT_THAT(error("method"), StatusIs(code, HasSubstr("expected key.key=value")));
  EXPECT_THAT(error("datasets.9.path=x"), StatusIs(code, HasSubstr("expected an index from 0 to 1")));
  EXPECT_THAT(error("name.x=y"), StatusIs(code, HasSubstr("'name' is no map")));
  EXPECT_THAT(error("task.options=[a"), StatusIs(code, HasSubstr("--set task.options=[a: value:")));
}

struct BadCase {
  std::string text;
  std::string error;
};

class BadFile : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadFile, IsRefusedWithThePlace) {
  EXPECT_THAT(ErrorsOf(GetParam().text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().error)));
}

INSTANTIATE_TEST_SUITE_P(
    JobFile, BadFile,
    ::testing::Values(
        BadCase{"quantizaton: 4bit", "jobs/spam.yaml:4:1: quantizaton: unknown key; expected base_model, datasets"},
        BadCase{"metod: {}", "jobs/spam.yaml:4:1: metod: unknown key (did you mean 'method'?)"},
        BadCase{"learning_rate: 1", "4:1: learning_rate: unknown key; it belongs under 'method'"},
        BadCase{"max_steps: 1", "4:1: max_steps: unknown key; here it is method.steps"},
        BadCase{"method:\n  probs: 4", "5:3: method.probs: unknown key (did you mean 'probes'?)"},
        BadCase{"method: {steps: many}", "4:17: method.steps: found 'many', expected a whole number from 0"},
        BadCase{"method: {steps: -1}", "4:17: method.steps: found '-1'"},
        BadCase{"method: {steps: 1.5}", "4:17: method.steps: found '1.5'"},
        BadCase{"method: {steps: 4294967296}", "4:17: method.steps: found '4294967296'"},
        BadCase{"method: {steps: \"5\"}", "4:17: method.steps: found the text '5'"},
        BadCase{"method: {steps: }", "method.steps: found nothing, expected a whole number"},
        BadCase{"method: {epsilon: .nan}", "4:19: method.epsilon: found '.nan', expected a number"},
        BadCase{"method: {learning_rate: inf}", "4:25: method.learning_rate: found 'inf'"},
        BadCase{"method: {steps: 1, steps: 2}", "4:20: method.steps: repeated key"},
        BadCase{"method: {noise: gausian}",
                "method.noise: found 'gausian', expected rademacher or gaussian (did you mean"},
        BadCase{"method: {train: []}", "4:17: method.train: an empty list, expected a name in it"},
        BadCase{"method: {train: scales}", "4:17: method.train: found 'scales', expected a list"},
        BadCase{"method: {train: [scales, norms]}",
                "4:26: method.train.1: found 'norms', expected scales or unquantized"},
        BadCase{"method: [1]", "4:9: method: found a list, expected a map"},
        BadCase{"method: {preset: {a: b}}", "4:18: method.preset: found a map, expected text"},
        BadCase{"placement: {priority: high}", "4:23: placement.priority: found 'high', expected a whole number"},
        BadCase{"labels: {a: [1]}", "4:13: labels.a: found a list, expected text"},
        BadCase{"labels: {a: 1, a: 2}", "4:16: labels.a: repeated key"},
        BadCase{"name: {}", "4:7: name: found a map, expected text"},
        BadCase{"task: {kind: chat}", "4:1: task: repeated key"}, BadCase{"[1]: 2", "found a list, expected a key"},
        BadCase{"a: [1", "jobs/spam.yaml:4:1: end of sequence flow not found"},
        BadCase{"---\nbase_model: n", "jobs/spam.yaml: found 2 documents"}));

TEST(JobFile, RefusesBadDatasets) {
  const auto error = [](const std::string& datasets) {
    return Parse("base_model: m\ntask: {kind: chat}\ndatasets: " + datasets).status();
  };
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(error("d.jsonl"), StatusIs(code, HasSubstr("3:11: datasets: found 'd.jsonl', expected a list")));
  EXPECT_THAT(error("[{path: a, name: b}]"),
              StatusIs(code, HasSubstr("3:12: datasets.0: expected either a path or a name")));
  EXPECT_THAT(error("[{path: a, type: b}]"), StatusIs(code, HasSubstr("datasets.0.type: unknown key")));
  EXPECT_THAT(error("[{path: a, split: tset}]"),
              StatusIs(code, HasSubstr("datasets.0.split: found 'tset', expected train")));
  EXPECT_THAT(error("[{path: a}, {path: b}]"),
              StatusIs(code, HasSubstr("datasets.1.split: a second dataset for train")));
  EXPECT_THAT(error("[{path: a, split: test}]"), StatusIs(code, HasSubstr("no entry has split: train")));
}

TEST(JobFile, NamesWhatIsMissing) {
  EXPECT_THAT(
      Parse("method: {}").status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("base_model: missing"), HasSubstr("datasets: missing"), HasSubstr("task: missing"))));
  EXPECT_THAT(Parse("").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected one job")));
  EXPECT_THAT(Parse("[]").status(), StatusIs(absl::StatusCode::kInvalidArgument,
                                             AllOf(HasSubstr("expected a map"), Not(HasSubstr("missing")))));
}

TEST(JobFile, ReportsEveryErrorInTheFilesOrder) {
  EXPECT_THAT(
      ErrorsOf("method: {stepz: 1, probes: x}\nextra: 1"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "jobs/spam.yaml:4:10: method.stepz: unknown key (did you mean 'steps'?)\n"
               "jobs/spam.yaml:4:28: method.probes: found 'x', expected a whole number from 0\n"
               "jobs/spam.yaml:5:1: extra: unknown key; expected base_model, datasets, task, method, evaluation, "
               "placement, name, display_name, labels"));
}

}  // namespace
}  // namespace qzo::client
