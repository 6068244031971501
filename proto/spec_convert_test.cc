#include "proto/spec_convert.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/status_matchers.h"

namespace qzo::rpc {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

method::MethodSpec Resolved(v1::Method method, int64_t rows = 100) {
  EXPECT_OK(ResolveMethod(rows, &method));
  const absl::StatusOr<method::MethodSpec> spec = ToMethodSpec(method);
  EXPECT_OK(spec);
  return spec.ok() ? *spec : method::MethodSpec();
}

v1::Task Classification() {
  v1::Task task;
  task.set_kind(v1::CLASSIFICATION);
  task.set_prompt("{text} is");
  task.add_options(" bad");
  task.add_options(" good");
  return task;
}

TEST(ResolveMethod, AnEmptyMethodIsTheDefaultPreset) {
  const method::MethodSpec spec = Resolved({});
  EXPECT_EQ(spec.steps, 60u);
  EXPECT_EQ(spec.probes, 8u);
  EXPECT_EQ(spec.micro_batches, 1u);
  EXPECT_EQ(spec.batch_size, 16u);
  EXPECT_EQ(spec.mode, method::Mode::kRelative);
  EXPECT_EQ(spec.granularity, method::Granularity::kChannel);
  EXPECT_EQ(spec.noise, method::Noise::kRademacher);
  EXPECT_EQ(spec.rule, method::Rule::kNormalized);
}

TEST(ResolveMethod, QzoPaperIsThePublishedMethod) {
  v1::Method method;
  method.set_preset(v1::QZO_PAPER);
  const method::MethodSpec spec = Resolved(method);
  EXPECT_EQ(spec.mode, method::Mode::kAbsolute);
  EXPECT_EQ(spec.granularity, method::Granularity::kGroup);
  EXPECT_EQ(spec.noise, method::Noise::kGaussian);
  EXPECT_EQ(spec.rule, method::Rule::kClip);
  EXPECT_EQ(spec.schedule, method::Schedule::kConstant);
  EXPECT_EQ(spec.clip, 100);
  EXPECT_EQ(spec.probes, 1u);
  EXPECT_EQ(spec.epsilon, 1e-3f);
  EXPECT_EQ(spec.learning_rate, 1e-7);
  EXPECT_EQ(spec.batch_size, 16u);
}

TEST(ResolveMethod, ScalesAreTrainedAndUnquantizedTensorsWhereAskedFor) {
  v1::Method method;
  EXPECT_FALSE(Resolved(method).train_unquantized);
  method.add_train(v1::UNQUANTIZED);
  method.add_train(v1::SCALES);
  EXPECT_TRUE(Resolved(method).train_unquantized);
  EXPECT_EQ(Resolved(method).delta_unit, 0.02f);
  method.set_preset(v1::QZO_PAPER);
  EXPECT_EQ(Resolved(method).delta_unit, 1) << "the published method: epsilon and learning rate as they are";
  method.set_delta_unit(0.5f);
  EXPECT_EQ(Resolved(method).delta_unit, 0.5f);

  v1::Method resolved = method;
  ASSERT_OK(ResolveMethod(100, &resolved));
  v1::Method again = resolved;
  ASSERT_OK(ResolveMethod(100, &again));
  EXPECT_TRUE(MessageDifferencer::Equals(again, resolved));
  ASSERT_OK_AND_ASSIGN(const method::MethodSpec spec, ToMethodSpec(resolved));
  v1::Method back = ToProto(spec);
  EXPECT_TRUE(back.train_size() == 2 && back.delta_unit() == 0.5f);
  resolved.clear_train();
  resolved.clear_delta_unit();
  EXPECT_OK(ToMethodSpec(resolved)) << "stored before there was a choice";
}

TEST(ResolveMethod, WhatIsTrainedIsChecked) {
  const auto error = [](std::vector<int> train, std::optional<float> unit = {}) {
    v1::Method method;
    for (const int part : train) method.add_train(static_cast<v1::TrainedPart>(part));
    if (unit) method.set_delta_unit(*unit);
    return ResolveMethod(100, &method);
  };
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(error({v1::UNQUANTIZED}), StatusIs(code, HasSubstr("method.train: 0 times SCALES and 1")));
  EXPECT_THAT(error({v1::SCALES, v1::SCALES}), StatusIs(code, HasSubstr("method.train: 2 times SCALES")));
  EXPECT_THAT(error({v1::SCALES, 7}), StatusIs(code, HasSubstr("method.train: 7, expected SCALES or UNQUANTIZED")));
  EXPECT_THAT(error({}, 1.0f), StatusIs(code, HasSubstr("method.delta_unit: 1 without UNQUANTIZED")));
  EXPECT_THAT(error({v1::SCALES, v1::UNQUANTIZED}, -1.0f), StatusIs(code, HasSubstr("method.delta_unit: -1")));
}

TEST(ResolveMethod, GivenFieldsWinOverThePresetEvenWhenZero) {
  v1::Method method;
  method.set_preset(v1::QZO_PAPER);
  method.set_learning_rate(0);
  method.set_probes(4);
  method.set_granularity(v1::CHANNEL);
  const method::MethodSpec spec = Resolved(method);
  EXPECT_EQ(spec.learning_rate, 0);
  EXPECT_EQ(spec.probes, 4u);
  EXPECT_EQ(spec.granularity, method::Granularity::kChannel);
  EXPECT_EQ(spec.noise, method::Noise::kGaussian);
}

TEST(ResolveMethod, EpochsBecomeStepsRoundedUp) {
  v1::Method method;
  method.set_epochs(1.5);
  method.set_batch_size(16);
  EXPECT_EQ(Resolved(method, 33).steps, 4u) << "ceil(1.5 * 33 / 16)";
  EXPECT_EQ(Resolved(method, 1).steps, 1u);
}

TEST(ResolveMethod, ResolvingTwiceChangesNothing) {
  v1::Method method;
  method.set_epochs(3);
  ASSERT_OK(ResolveMethod(100, &method));
  EXPECT_FALSE(method.has_epochs());
  v1::Method again = method;
  ASSERT_OK(ResolveMethod(7, &again));
  EXPECT_TRUE(MessageDifferencer::Equals(method, again));
}

TEST(ResolveMethod, EveryViolationIsReportedAndNothingChanged) {
  v1::Method method;
  method.set_preset(static_cast<v1::Preset>(9));
  method.set_steps(0);
  method.set_epochs(1);
  method.set_probes(65);
  method.set_noise(static_cast<v1::NoiseKind>(7));
  const v1::Method before = method;
  EXPECT_THAT(ResolveMethod(100, &method),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("method.preset: 9, expected DEFAULT or QZO_PAPER"),
                             HasSubstr("method.epochs: given together"), HasSubstr("method.probes: 65"),
                             HasSubstr("method.noise: 7, expected RADEMACHER or GAUSSIAN"))));
  EXPECT_TRUE(MessageDifferencer::Equals(method, before));
}

TEST(ResolveMethod, EpochsMustBeAFiniteNumberAboveZero) {
  for (const double epochs :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    v1::Method method;
    method.set_epochs(epochs);
    EXPECT_THAT(ResolveMethod(100, &method), StatusIs(absl::StatusCode::kInvalidArgument,
                                                      AllOf(HasSubstr("method.epochs"), Not(HasSubstr("steps:")))));
  }
  v1::Method endless;
  endless.set_epochs(1e300);
  EXPECT_THAT(ResolveMethod(100, &endless), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.steps")));
  v1::Method no_batch;
  no_batch.set_epochs(1);
  no_batch.set_batch_size(0);
  EXPECT_THAT(ResolveMethod(100, &no_batch),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.batch_size: 0")));
}

TEST(MethodSpecConversion, SurvivesTheRoundTrip) {
  v1::Method method;
  method.set_preset(v1::QZO_PAPER);
  method.set_seed(0xFFFFFFFFFFFFFFFFu);
  method.set_sampling(v1::BALANCED);
  method.set_lr_schedule(v1::COSINE);
  method.set_warmup_ratio(0.25);
  method.set_batch_size(32);
  method.set_micro_batches(4);
  ASSERT_OK(ResolveMethod(100, &method));
  ASSERT_OK_AND_ASSIGN(const method::MethodSpec spec, ToMethodSpec(method));
  v1::Method back = ToProto(spec);
  back.set_preset(method.preset());
  EXPECT_TRUE(MessageDifferencer::Equals(method, back)) << method.DebugString() << back.DebugString();
}

TEST(MethodSpecConversion, AnUnresolvedMethodIsRefused) {
  EXPECT_THAT(ToMethodSpec({}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("method.mode: PERTURBATION_MODE_UNSPECIFIED, expected RELATIVE or ABSOLUTE")));
}

TEST(TaskConversion, DefaultsAreFilledInAndSurviveTheRoundTrip) {
  v1::Task task = Classification();
  ResolveTask({}, &task);
  EXPECT_EQ(task.label_field(), "label");
  EXPECT_EQ(task.sequence_len(), 512);
  ASSERT_OK_AND_ASSIGN(const model::TaskSpec spec, ToTaskSpec(task));
  EXPECT_TRUE(MessageDifferencer::Equals(ToProto(spec), task));
}

TEST(TaskConversion, ChatFormatFollowsTheModel) {
  const std::vector<std::pair<model::ChatFormat, v1::ChatFormat>> formats = {
      {model::ChatFormat::kChatMl, v1::CHATML},
      {model::ChatFormat::kPlain, v1::PLAIN},
      {model::ChatFormat::kModelTemplate, v1::MODEL_TEMPLATE}};
  for (const auto& [of_model, in_message] : formats) {
    v1::Task task;
    task.set_kind(v1::CHAT);
    ResolveTask({.chat_format = of_model}, &task);
    EXPECT_EQ(task.chat_format(), in_message);
    ASSERT_OK_AND_ASSIGN(const model::TaskSpec spec, ToTaskSpec(task));
    EXPECT_EQ(spec.chat_format, of_model);
    EXPECT_TRUE(MessageDifferencer::Equals(ToProto(spec), task));
  }
}

TEST(TaskConversion, CompletionSurvivesTheRoundTrip) {
  v1::Task task;
  task.set_kind(v1::COMPLETION);
  task.set_prompt("Q: {q}\nA:");
  task.set_answer(" {a}");
  ResolveTask({}, &task);
  ASSERT_OK_AND_ASSIGN(const model::TaskSpec spec, ToTaskSpec(task));
  EXPECT_TRUE(MessageDifferencer::Equals(ToProto(spec), task));
}

TEST(TaskConversion, ATemplateFillsInWhatWasLeftOut) {
  v1::Task task;
  task.set_template_("sst2");
  ResolveTask({}, &task);
  EXPECT_EQ(task.kind(), v1::CLASSIFICATION);
  EXPECT_EQ(task.prompt(), "{sentence|strip} It was");
  EXPECT_EQ(task.options(1), " great");
  EXPECT_EQ(task.label_names(0), "negative");
  EXPECT_OK(ToTaskSpec(task));
  v1::Task again = task;
  ResolveTask({}, &again);
  EXPECT_TRUE(MessageDifferencer::Equals(again, task));

  v1::Task changed;
  changed.set_template_("sst2");
  changed.set_prompt("{text} =");
  for (const char* option : {" bad", " so so", " good"}) changed.add_options(option);
  ResolveTask({}, &changed);
  EXPECT_EQ(changed.prompt(), "{text} =");
  EXPECT_EQ(changed.options_size(), 3);
  EXPECT_EQ(changed.label_names_size(), 0) << "names of other options";

  v1::Task blanks;
  blanks.set_template_("squad");
  ResolveTask({.blank_comes_by_itself = true}, &blanks);
  EXPECT_EQ(blanks.kind(), v1::COMPLETION);
  EXPECT_EQ(blanks.answer(), "{answers.text.0}\n");
  ASSERT_OK_AND_ASSIGN(const model::TaskSpec spec, ToTaskSpec(blanks));
  EXPECT_EQ(spec.stop, std::vector<std::string>{"\n"});
  EXPECT_EQ(spec.references, "answers.text");
}

TEST(TaskConversion, EveryTemplateIsSoundWithAndWithoutBlanks) {
  for (const std::string& name : model::BuiltinTaskNames()) {
    for (const bool blank : {false, true}) {
      v1::Task task;
      task.set_template_(name);
      ResolveTask({.blank_comes_by_itself = blank}, &task);
      EXPECT_OK(ToTaskSpec(task)) << name;
    }
  }
}

TEST(TaskConversion, UnknownTemplatesAreRefused) {
  v1::Task task;
  task.set_template_("sst3");
  ResolveTask({}, &task);
  EXPECT_THAT(ToTaskSpec(task), StatusIs(absl::StatusCode::kInvalidArgument,
                                         AllOf(HasSubstr("task.template: 'sst3', expected agnews or boolq or "),
                                               HasSubstr("did you mean 'sst2'?"))));
  task.set_template_("sst2");
  task.set_kind(v1::COMPLETION);
  ResolveTask({}, &task);
  EXPECT_THAT(ToTaskSpec(task), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("task.answer: empty")));
}

TEST(TaskConversion, ATaskNeedsAKind) {
  v1::Task task = Classification();
  task.set_kind(v1::TASK_KIND_UNSPECIFIED);
  EXPECT_THAT(ToTaskSpec(task),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "task.kind: TASK_KIND_UNSPECIFIED, expected CLASSIFICATION or COMPLETION or CHAT"));
  task = Classification();
  task.set_sequence_len(-1);
  EXPECT_THAT(ToTaskSpec(task), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("task.sequence_len: found -1")));
}

TEST(EvaluationConversion, CarriesTheFigures) {
  model::EvalSums sums;
  sums.loss_sum = 6;
  sums.loss_count = 4;
  sums.rows = 4;
  sums.confusion = {1, 1, 0, 2};
  const v1::Evaluation evaluation = ToProto(sums, 20, "validation");
  EXPECT_EQ(evaluation.step(), 20u);
  EXPECT_EQ(evaluation.split(), "validation");
  EXPECT_EQ(evaluation.rows(), 4);
  EXPECT_DOUBLE_EQ(evaluation.loss(), 1.5);
  EXPECT_DOUBLE_EQ(evaluation.accuracy(), 0.75);
  EXPECT_LT(evaluation.accuracy_low(), 0.75);
  EXPECT_GT(evaluation.accuracy_high(), 0.75);
  EXPECT_EQ(evaluation.f1_size(), 2);
  EXPECT_DOUBLE_EQ(evaluation.majority_accuracy(), 0.5);
}

}  // namespace
}  // namespace qzo::rpc
