#include "proto/spec_convert.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::rpc {
namespace {

constexpr uint32_t kDefaultSteps = 60;

// The two sides number their enums alike, so that a checked value is converted by a cast.
static_assert(static_cast<int>(method::Granularity::kGroup) == v1::GROUP);
static_assert(static_cast<int>(method::Mode::kAbsolute) == v1::ABSOLUTE);
static_assert(static_cast<int>(method::Noise::kGaussian) == v1::GAUSSIAN);
static_assert(static_cast<int>(method::Rule::kClip) == v1::CLIP);
static_assert(static_cast<int>(method::Schedule::kCosine) == v1::COSINE);
static_assert(static_cast<int>(method::Sampling::kBalanced) == v1::BALANCED);

bool TrainsUnquantized(const v1::Method& method) {
  return std::find(method.train().begin(), method.train().end(), v1::UNQUANTIZED) != method.train().end();
}

class Violations {
 public:
  void Add(std::string line) { lines_.push_back(std::move(line)); }
  void Add(const absl::Status& status) {
    if (!status.ok()) lines_.emplace_back(status.message());
  }
  // Whether `value` is one of its enum's names other than …_UNSPECIFIED; a violation of `field` otherwise.
  template <typename Enum>
  bool RequireNamed(Enum value, std::string_view field) {
    const google::protobuf::EnumDescriptor* type = google::protobuf::GetEnumDescriptor<Enum>();
    const google::protobuf::EnumValueDescriptor* found = type->FindValueByNumber(value);
    if (found != nullptr && value != 0) return true;
    std::vector<std::string> names;
    for (int i = 0; i < type->value_count(); ++i) {
      if (type->value(i)->number() != 0) names.push_back(type->value(i)->name());
    }
    Add(absl::StrCat(base::ToAbsl(field), ": ",
                     found != nullptr ? found->name() : absl::StrCat(static_cast<int>(value)), ", expected ",
                     absl::StrJoin(names, " or ")));
    return false;
  }
  absl::Status Status() const {
    return lines_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(lines_, "\n"));
  }

 private:
  std::vector<std::string> lines_;
};

method::MethodSpec PresetSpec(v1::Preset preset) {
  method::MethodSpec spec;
  if (preset != v1::QZO_PAPER) return spec;
  spec.mode = method::Mode::kAbsolute;
  spec.granularity = method::Granularity::kGroup;
  spec.noise = method::Noise::kGaussian;
  spec.rule = method::Rule::kClip;
  spec.clip = 100;
  spec.probes = 1;
  spec.epsilon = 1e-3f;
  spec.learning_rate = 1e-7;
  spec.schedule = method::Schedule::kConstant;
  spec.batch_size = 16;
  spec.delta_unit = 1;
  return spec;
}

uint32_t StepsOfEpochs(double epochs, int64_t rows, uint32_t batch_size) {
  const double steps = std::ceil(epochs * static_cast<double>(rows) / std::max<uint32_t>(batch_size, 1));
  // As numbers go: what is not one, and refused elsewhere, has no integer.
  return static_cast<uint32_t>(std::fmin(std::fmax(steps, 1.0), 4294967295.0));
}

v1::ChatFormat ChatFormatToProto(model::ChatFormat format) {
  if (format == model::ChatFormat::kChatMl) return v1::CHATML;
  return format == model::ChatFormat::kPlain ? v1::PLAIN : v1::MODEL_TEMPLATE;
}

// Fields of a built-in task that were left out. Names of labels belong to its own options.
void FillIn(const model::TaskSpec& builtin, bool blank_comes_by_itself, v1::Task* task) {
  const auto text = [blank_comes_by_itself](std::string_view stored) {
    if (blank_comes_by_itself && stored.starts_with(' ')) stored.remove_prefix(1);
    return std::string(stored);
  };
  if (task->kind() == v1::TASK_KIND_UNSPECIFIED) {
    task->set_kind(builtin.kind == model::TaskKind::kCompletion ? v1::COMPLETION : v1::CLASSIFICATION);
  }
  if (task->prompt().empty()) task->set_prompt(builtin.prompt);
  if (task->kind() == v1::COMPLETION) {
    if (task->answer().empty()) task->set_answer(text(builtin.answer));
    if (task->stop().empty()) task->mutable_stop()->Assign(builtin.stop.begin(), builtin.stop.end());
    if (task->references().empty()) task->set_references(builtin.references);
    return;
  }
  if (task->options().empty()) {
    for (const std::string& option : builtin.options) task->add_options(text(option));
  }
  if (task->label_names().empty() && task->options_size() == static_cast<int>(builtin.options.size())) {
    task->mutable_label_names()->Assign(builtin.label_names.begin(), builtin.label_names.end());
  }
  if (task->label_field().empty()) task->set_label_field(builtin.label_field);
}

}  // namespace

absl::Status ResolveMethod(int64_t rows, v1::Method* method) {
  Violations violations;
  if (method->preset() == v1::PRESET_UNSPECIFIED) method->set_preset(v1::DEFAULT);
  violations.RequireNamed(method->preset(), "method.preset");
  const method::MethodSpec preset = PresetSpec(method->preset());
  v1::Method resolved = ToProto(preset);
  resolved.clear_steps();
  if (method->train_size() > 0) resolved.clear_train();
  resolved.MergeFrom(*method);
  if (!TrainsUnquantized(resolved) && method->has_delta_unit()) {
    violations.Add(absl::StrCat("method.delta_unit: ", method->delta_unit(),
                                " without UNQUANTIZED in method.train, expected none"));
  }
  if (TrainsUnquantized(resolved) && !method->has_delta_unit()) resolved.set_delta_unit(preset.delta_unit);
  resolved.clear_epochs();
  if (!method->has_steps() && !method->has_epochs()) resolved.set_steps(kDefaultSteps);
  if (method->has_epochs()) {
    resolved.set_steps(StepsOfEpochs(method->epochs(), rows, resolved.batch_size()));
    if (method->has_steps()) {
      violations.Add("method.epochs: given together with method.steps, expected one of them");
    } else if (!std::isfinite(method->epochs()) || method->epochs() <= 0) {
      violations.Add(absl::StrCat("method.epochs: ", method->epochs(), ", expected a finite number above 0"));
      resolved.set_steps(1);
    }
  }
  violations.Add(ToMethodSpec(resolved).status());
  QZO_RETURN_IF_ERROR(violations.Status());
  *method = std::move(resolved);
  return absl::OkStatus();
}

absl::StatusOr<method::MethodSpec> ToMethodSpec(const v1::Method& method) {
  Violations violations;
  method::MethodSpec spec;
  spec.seed = method.seed();
  spec.steps = method.steps();
  spec.probes = method.probes();
  spec.micro_batches = method.micro_batches();
  spec.batch_size = method.batch_size();
  spec.epsilon = method.epsilon();
  spec.learning_rate = method.learning_rate();
  spec.warmup_ratio = method.warmup_ratio();
  spec.clip = method.clip();
  const auto convert = [&](auto value, std::string_view field, auto* target) {
    using Target = std::remove_pointer_t<decltype(target)>;
    if (violations.RequireNamed(value, field)) *target = static_cast<Target>(static_cast<int>(value));
  };
  convert(method.granularity(), "method.granularity", &spec.granularity);
  convert(method.mode(), "method.mode", &spec.mode);
  convert(method.noise(), "method.noise", &spec.noise);
  convert(method.rule(), "method.rule", &spec.rule);
  convert(method.lr_schedule(), "method.lr_schedule", &spec.schedule);
  convert(method.sampling(), "method.sampling", &spec.sampling);
  // Without any: a job that an earlier version stored.
  int scales = method.train().empty() ? 1 : 0, unquantized = 0;
  for (const int part : method.train()) {
    if (!violations.RequireNamed(static_cast<v1::TrainedPart>(part), "method.train")) continue;
    ++(part == v1::SCALES ? scales : unquantized);
  }
  if (scales != 1 || unquantized > 1) {
    violations.Add(absl::StrCat("method.train: ", scales, " times SCALES and ", unquantized,
                                " times UNQUANTIZED, expected SCALES, alone or with UNQUANTIZED"));
  }
  spec.train_unquantized = unquantized > 0;
  if (method.has_delta_unit()) spec.delta_unit = method.delta_unit();
  violations.Add(spec.Validate());
  QZO_RETURN_IF_ERROR(violations.Status());
  return spec;
}

v1::Method ToProto(const method::MethodSpec& spec) {
  v1::Method method;
  method.set_seed(spec.seed);
  method.set_steps(spec.steps);
  method.set_batch_size(spec.batch_size);
  method.set_probes(spec.probes);
  method.set_micro_batches(spec.micro_batches);
  method.set_epsilon(spec.epsilon);
  method.set_learning_rate(spec.learning_rate);
  method.set_lr_schedule(static_cast<v1::LrSchedule>(spec.schedule));
  method.set_warmup_ratio(spec.warmup_ratio);
  method.set_granularity(static_cast<v1::Granularity>(spec.granularity));
  method.set_mode(static_cast<v1::PerturbationMode>(spec.mode));
  method.set_noise(static_cast<v1::NoiseKind>(spec.noise));
  method.set_rule(static_cast<v1::UpdateRule>(spec.rule));
  method.set_clip(spec.clip);
  method.set_sampling(static_cast<v1::Sampling>(spec.sampling));
  method.add_train(v1::SCALES);
  if (spec.train_unquantized) {
    method.add_train(v1::UNQUANTIZED);
    method.set_delta_unit(spec.delta_unit);
  }
  return method;
}

void ResolveTask(const model::TaskDefaults& defaults, v1::Task* task) {
  if (const model::TaskSpec* builtin = model::FindBuiltinTask(task->template_()); builtin != nullptr) {
    FillIn(*builtin, defaults.blank_comes_by_itself, task);
  }
  const model::TaskSpec spec;
  if (task->kind() == v1::CLASSIFICATION && task->label_field().empty()) task->set_label_field(spec.label_field);
  if (task->kind() == v1::CHAT && task->chat_format() == v1::CHAT_FORMAT_UNSPECIFIED) {
    task->set_chat_format(ChatFormatToProto(defaults.chat_format));
  }
  if (task->sequence_len() == 0) task->set_sequence_len(spec.sequence_len);
}

absl::StatusOr<model::TaskSpec> ToTaskSpec(const v1::Task& task) {
  Violations violations;
  model::TaskSpec spec;
  const bool known = task.template_().empty() || model::FindBuiltinTask(task.template_()) != nullptr;
  if (!known) {
    const std::vector<std::string> names = model::BuiltinTaskNames();
    violations.Add(absl::StrCat("task.template: '", task.template_(), "', expected ", absl::StrJoin(names, " or "),
                                base::DidYouMean(task.template_(), names)));
  }
  // A template that nobody knows does not say the kind.
  const bool has_kind = (known || task.kind() != 0) && violations.RequireNamed(task.kind(), "task.kind");
  if (task.kind() == v1::COMPLETION) spec.kind = model::TaskKind::kCompletion;
  if (task.kind() == v1::CHAT && violations.RequireNamed(task.chat_format(), "task.chat_format")) {
    if (task.chat_format() == v1::PLAIN) spec.chat_format = model::ChatFormat::kPlain;
    if (task.chat_format() == v1::MODEL_TEMPLATE) spec.chat_format = model::ChatFormat::kModelTemplate;
  }
  if (task.kind() == v1::CHAT) spec.kind = model::TaskKind::kChat;
  spec.prompt = task.prompt();
  spec.options.assign(task.options().begin(), task.options().end());
  if (!task.label_field().empty()) spec.label_field = task.label_field();
  spec.label_names.assign(task.label_names().begin(), task.label_names().end());
  spec.answer = task.answer();
  spec.stop.assign(task.stop().begin(), task.stop().end());
  spec.references = task.references();
  spec.sequence_len = task.sequence_len();
  // Without a kind nobody knows which of the other fields are wrong.
  if (has_kind && known) violations.Add(spec.Validate());
  QZO_RETURN_IF_ERROR(violations.Status());
  return spec;
}

v1::Task ToProto(const model::TaskSpec& spec) {
  v1::Task task;
  task.set_prompt(spec.prompt);
  task.set_answer(spec.answer);
  task.set_sequence_len(spec.sequence_len);
  switch (spec.kind) {
    case model::TaskKind::kClassification:
      task.set_kind(v1::CLASSIFICATION);
      task.set_label_field(spec.label_field);
      for (const std::string& option : spec.options) task.add_options(option);
      for (const std::string& name : spec.label_names) task.add_label_names(name);
      break;
    case model::TaskKind::kCompletion:
      task.set_kind(v1::COMPLETION);
      for (const std::string& stop : spec.stop) task.add_stop(stop);
      task.set_references(spec.references);
      break;
    case model::TaskKind::kChat:
      task.set_kind(v1::CHAT);
      task.set_chat_format(ChatFormatToProto(spec.chat_format));
      break;
  }
  return task;
}

v1::Evaluation ToProto(const model::EvalSums& sums, uint32_t step, const std::string& split) {
  const model::EvalFigures figures = model::Figures(sums);
  v1::Evaluation evaluation;
  evaluation.set_step(step);
  evaluation.set_split(split);
  evaluation.set_rows(sums.rows);
  evaluation.set_loss(figures.loss);
  evaluation.set_accuracy(figures.accuracy);
  evaluation.set_accuracy_low(figures.accuracy_low);
  evaluation.set_accuracy_high(figures.accuracy_high);
  evaluation.set_macro_f1(figures.macro_f1);
  for (const double f1 : figures.f1) evaluation.add_f1(f1);
  evaluation.set_majority_accuracy(figures.majority_accuracy);
  return evaluation;
}

}  // namespace qzo::rpc
