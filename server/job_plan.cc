#include "server/job_plan.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "method/batch_order.h"
#include "method/partition.h"
#include "model/formats/memory_plan.h"
#include "qzo/v1/worker.pb.h"

namespace qzo::server {
namespace {

double TokensPerRow(const model::DatasetReport& report) {
  return report.rows > 0 ? static_cast<double>(report.tokens) / static_cast<double>(report.rows) : 0;
}

int64_t ValidatedRows(const v1::JobSpec& spec, const method::MethodSpec& method, const model::DatasetReport& report) {
  const std::vector<int64_t> rows =
      report.label_counts.empty() ? std::vector<int64_t>{report.rows} : report.label_counts;
  return method::EvaluationRowCount(method.sampling, rows, spec.evaluation().eval_rows());
}

uint32_t EvaluationItems(int64_t rows) {
  return static_cast<uint32_t>((rows + method::kRowsPerEvaluationItem - 1) / method::kRowsPerEvaluationItem);
}

// Before the first step, every eval_steps and after the last.
int64_t Validations(const v1::JobSpec& spec, uint32_t steps) {
  const uint32_t every = spec.evaluation().eval_steps();
  return every == 0 ? 2 : 1 + (int64_t{steps} + every - 1) / every;
}

double TokensPerStep(const method::MethodSpec& method, const model::DatasetReport& training) {
  return TokensPerRow(training) * method.batch_size * method.probes * 2;
}

double PayloadPerStep(const method::MethodSpec& method) {
  v1::CoordinatorMessage down;
  v1::Work& work = *down.mutable_work();
  work.set_job(1);
  work.set_step(method.steps);
  for (uint32_t p = 0; p < method.probes; ++p) work.add_coefficients(1);
  work.set_item_count(method.items());
  v1::WorkerMessage up;
  v1::Results& results = *up.mutable_results();
  results.set_job(1);
  results.set_step(method.steps);
  for (uint32_t i = 0; i < 2 * method.items(); ++i) results.add_losses(1);
  results.add_counts(method.batch_size / method.micro_batches);
  results.set_digest(1);
  return static_cast<double>(down.ByteSizeLong() + up.ByteSizeLong());
}

// Absolute mode keeps a unit beside every multiplier.
int64_t StateBytes(const method::MethodSpec& method, const method::PartitionTensor& tensor) {
  const bool units = method.mode == method::Mode::kAbsolute && !tensor.shape.deltas;
  return tensor.count * static_cast<int64_t>(sizeof(float)) * (units ? 2 : 1);
}

int64_t Activations(const method::MethodSpec& method, const model::ModelInfo& model, int32_t longest_row) {
  const int64_t row = 2 * int64_t{longest_row};
  const int64_t item = row * (method.batch_size / method.micro_batches);
  return model.ActivationBytes(std::max(row, std::min(item, model::kPassRows)));
}

int32_t LongestRow(const v1::JobSpec& spec, const SplitReports& reports) {
  return std::min(reports.training.longest, spec.task().sequence_len());
}

// Of a part of the training set's tokens.
double Share(int64_t part, const model::DatasetReport& training) {
  return training.tokens > 0 ? static_cast<double>(part) / static_cast<double>(training.tokens) : 0;
}

// Costs are multiply-adds for a row of a pass.
core::ModelShape ShapeOf(const v1::JobSpec& spec, const method::MethodSpec& method, const model::ModelInfo& model,
                         const SplitReports& reports) {
  core::ModelShape shape;
  const method::Partition partition = model.PartitionFor(method);
  // Layers that were repacked give back their memory in the file.
  const int64_t repacked = model.repacked_bytes - model.released_bytes;
  shape.whole_bytes = model.file_bytes + repacked;
  for (const method::PartitionTensor& tensor : partition.tensors()) shape.whole_bytes += StateBytes(method, tensor);
  const auto layers = static_cast<size_t>(model.layers);
  if (model.block_bytes.size() != layers || layers == 0 || model.trained.size() % layers != 0) return shape;
  if (method.train_unquantized && model.embedding_shared()) return shape;  // two stages would train it
  // Tensors with deltas stand before those of the layers, too, and after them.
  const auto unquantized = [&](int32_t count) { return method.train_unquantized ? static_cast<size_t>(count) : 0; };
  const size_t embeddings = unquantized(model.unquantized_embeddings);
  const size_t tensors = model.trained.size() / layers + unquantized(model.unquantized_per_layer);
  int64_t counted = model.embedding_bytes + (model.tied_head ? 0 : model.head_bytes);
  for (size_t l = 0; l < layers; ++l) {
    core::ModelShape::Layer layer;
    layer.bytes = model.block_bytes[l] + repacked / model.layers;
    for (const method::PartitionTensor& tensor : partition.tensors().subspan(embeddings + l * tensors, tensors)) {
      layer.bytes += StateBytes(method, tensor);
      if (tensor.shape.deltas) continue;
      layer.cost += static_cast<double>(tensor.shape.rows) * static_cast<double>(tensor.shape.cols);
    }
    counted += model.block_bytes[l];
    shape.layers.push_back(layer);
  }
  // From the last layer's queries on, only rows go on that predict a scored token.
  const double scored = Share(reports.training.scored, reports.training);
  const double keys_and_values =
      std::min(shape.layers.back().cost, 2.0 * model.kv_heads * model.head_dim * model.embedding_length);
  shape.layers.back().cost = keys_and_values + scored * (shape.layers.back().cost - keys_and_values);
  shape.embedding_bytes = model.embedding_bytes;
  shape.head_bytes = model.head_bytes;
  for (const method::PartitionTensor& tensor : partition.tensors().first(embeddings)) {
    shape.embedding_bytes += StateBytes(method, tensor);
  }
  for (const method::PartitionTensor& tensor : partition.tensors().subspan(embeddings + layers * tensors)) {
    shape.head_bytes += StateBytes(method, tensor);
  }
  shape.head_cost = scored * static_cast<double>(model.vocabulary) * static_cast<double>(model.embedding_length);
  // What belongs to no tensor (the vocabulary, mostly) is read by every stage.
  shape.stage_bytes =
      std::max<int64_t>(0, model.file_bytes - counted) + Activations(method, model, LongestRow(spec, reports));
  return shape;
}

// What stages hold of a model where workers are alike.
void PlanStages(const core::ModelShape& shape, uint32_t stages, v1::Plan* plan) {
  const std::vector<int64_t> memory(stages, core::kUnlimited);
  for (const core::LayerRange& layers : core::SplitLayers(shape, memory).value_or(std::vector<core::LayerRange>())) {
    v1::Plan::Stage& stage = *plan->add_stages();
    stage.set_first_layer(layers.first);
    stage.set_end_layer(layers.end);
    stage.set_worker_memory_bytes(core::StageBytes(shape, layers));
  }
}

}  // namespace

absl::Status CheckMode(const method::MethodSpec& method, const model::ModelInfo& model, bool have_scales) {
  if (method.mode != method::Mode::kAbsolute) return absl::OkStatus();
  if (!have_scales) {
    return absl::InvalidArgumentError(
        "method.mode: ABSOLUTE, expected RELATIVE: some of the model's trained weights are plain floats without stored "
        "scales; qzoctl models convert quantizes a checkpoint, which gives them some");
  }
  const bool one_scale_a_row =
      std::all_of(model.trained.begin(), model.trained.end(),
                  [](const method::TensorShape& tensor) { return tensor.group == tensor.cols; });
  if (method.granularity == method::Granularity::kGroup || one_scale_a_row) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "method.granularity: CHANNEL, expected GROUP: mode ABSOLUTE needs it where a row has several stored scales");
}

JobFacts FactsOf(const v1::JobSpec& spec, const method::MethodSpec& method, const model::ModelInfo& model,
                 const SplitReports& reports) {
  JobFacts facts;
  facts.validation_items = EvaluationItems(ValidatedRows(spec, method, reports.validation));
  facts.test_items = EvaluationItems(reports.test.rows);
  facts.tokens_per_step = std::llround(TokensPerStep(method, reports.training));
  facts.shape = ShapeOf(spec, method, model, reports);
  return facts;
}

v1::Plan PlanOf(const v1::JobSpec& spec, const method::MethodSpec& method, const model::ModelInfo& model,
                const SplitReports& reports) {
  const method::Partition partition = model.PartitionFor(method);
  const model::DatasetReport& training = reports.training;
  v1::Plan plan;
  plan.set_steps(method.steps);
  plan.set_items_per_step(method.items());
  plan.set_multipliers(partition.multipliers());
  plan.set_deltas(partition.deltas());
  plan.set_training_tokens(std::llround(TokensPerStep(method, training) * method.steps));
  const double validated =
      TokensPerRow(reports.validation) * static_cast<double>(ValidatedRows(spec, method, reports.validation));
  plan.set_evaluation_tokens(std::llround(validated * static_cast<double>(Validations(spec, method.steps)) +
                                          2.0 * static_cast<double>(reports.test.tokens)));
  const int64_t tokens = training.tokens + reports.validation.tokens + reports.test.tokens;
  plan.set_worker_memory_bytes(model::PlanMemory(model, method, LongestRow(spec, reports), tokens).total());
  if (spec.placement().stages() > 1) {
    PlanStages(ShapeOf(spec, method, model, reports), spec.placement().stages(), &plan);
    plan.set_link_bytes_per_step(TokensPerStep(method, training) *
                                 Share(training.tokens - training.branches, training) * model.embedding_length *
                                 static_cast<double>(sizeof(float)));
  }
  plan.set_payload_bytes_per_step(PayloadPerStep(method));
  plan.set_journal_bytes(int64_t{method.steps} * method.probes * 2 * static_cast<int64_t>(sizeof(float)));
  plan.set_truncated_rows(training.truncated_rows);
  plan.set_shortened_chats(training.shortened_chats);
  plan.set_lost_tokens(training.lost_tokens);
  plan.set_longest_row_tokens(training.longest);
  plan.mutable_label_counts()->Add(training.label_counts.begin(), training.label_counts.end());
  return plan;
}

}  // namespace qzo::server
