#include "worker/serving.h"

#include <google/protobuf/util/json_util.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tasks/builtin_tasks.h"
#include "proto/grpc_status.h"
#include "proto/spec_convert.h"

namespace qzo::worker {
namespace {

constexpr int kDefaultTokens = 128;

// A method without effect, for adapters that hold multipliers.
method::MethodSpec SpecOf(const method::Adapter& adapter) {
  method::MethodSpec spec = adapter.spec;
  spec.steps = std::max(1U, spec.steps);
  return spec;
}

// {"messages": […]} as rows of chat datasets have it.
absl::StatusOr<std::string> RowOf(const v1::Conversation& conversation) {
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(conversation, &json);
  if (status.ok()) return json;
  return absl::InvalidArgumentError(absl::StrCat("the conversation: ", status.ToString()));
}

int MaxTokens(const v1::SamplingOptions& options) {
  return options.has_max_tokens() ? static_cast<int>(options.max_tokens()) : kDefaultTokens;
}

model::SamplingOptions SamplingOf(const v1::SamplingOptions& options, const model::Tokenizer& tokenizer) {
  return {.max_tokens = MaxTokens(options),
          .temperature = options.temperature(),
          .top_k = static_cast<int>(std::min<uint32_t>(options.top_k(), 1 << 30)),
          .top_p = options.has_top_p() ? options.top_p() : 1.0,
          .seed = options.seed(),
          .stop_tokens = model::StopTokens(tokenizer)};
}

void AddScores(const std::vector<double>& scores, v1::ScoreResponse* response) {
  v1::ScoreResponse::Row* row = response->add_rows();
  const auto best = std::max_element(scores.begin(), scores.end());
  row->set_label(static_cast<uint32_t>(best - scores.begin()));
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - *best);
  for (const double score : scores) {
    row->add_log_probabilities(score);
    row->add_probabilities(std::exp(score - *best) / sum);
  }
}

}  // namespace

void Serving::Receive(const v1::ServingRequest& request, const std::shared_ptr<ServingUplink>& uplink) {
  auto open = std::make_shared<Open>();
  open->request = request;
  open->uplink = uplink;
  bool refuse = false;
  {
    base::MutexLock lock(&mu_);
    if (request.has_cancel()) {
      std::erase_if(open_, [&](const OpenPtr& other) {
        return other->uplink == uplink && other->request.request() == request.request();
      });
      if (open_.empty()) idle_.SignalAll();
      return;
    }
    refuse = retired_;
    if (!refuse) open_.insert(open);
  }
  if (refuse) {
    v1::ServingMessage message;
    message.set_request(request.request());
    *message.mutable_error() = rpc::ToProto(absl::UnavailableError("the worker is leaving"));
    return uplink->Send(message);
  }
  options_.transfers->Push(0, [this, open] {
    if (!IsOpen(open)) return false;
    absl::Status loaded;
    try {
      loaded = Load(open.get());
    } catch (const std::bad_alloc&) {
      loaded = absl::ResourceExhaustedError("out of memory");
    }
    if (!loaded.ok()) return End(open, loaded), false;
    base::MutexLock lock(&mu_);
    arrived_.push_back(open);
    if (!std::exchange(turning_, true)) options_.compute->Push(kLane, [this] { return Turn(); });
    return false;
  });
}

void Serving::Forget(const std::shared_ptr<ServingUplink>& uplink) {
  base::MutexLock lock(&mu_);
  std::erase_if(open_, [&](const OpenPtr& open) { return open->uplink == uplink; });
  if (open_.empty()) idle_.SignalAll();
}

void Serving::Retire() {
  base::MutexLock lock(&mu_);
  retired_ = true;
}

void Serving::WaitUntilIdle() {
  base::MutexLock lock(&mu_);
  while (!open_.empty()) idle_.Wait(&mu_);
}

bool Serving::IsOpen(const OpenPtr& open) {
  base::MutexLock lock(&mu_);
  return open_.contains(open);
}

void Serving::End(const OpenPtr& open, const absl::Status& status) {
  bool last = false;
  {
    base::MutexLock lock(&mu_);
    if (open_.erase(open) == 0) return;
    last = open_.empty();
  }
  if (!status.ok()) {
    v1::ServingMessage message;
    message.set_request(open->request.request());
    *message.mutable_error() = rpc::ToProto(status);
    open->uplink->Send(message);
  }
  base::MutexLock lock(&mu_);
  if (last) idle_.SignalAll();
}

absl::StatusOr<v1::Task> Serving::TaskOf(const Open& open) const {
  const v1::ServingRequest& request = open.request;
  v1::Task task = request.has_score() ? request.score().task() : request.generate().task();
  const bool chat = request.generate().has_conversation();
  if (task.kind() == v1::TASK_KIND_UNSPECIFIED && open.adapter != nullptr && !open.adapter->task_json.empty()) {
    const auto status = google::protobuf::util::JsonStringToMessage(open.adapter->task_json, &task);
    if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("the adapter's task: ", status.ToString()));
  }
  if (chat && task.kind() != v1::CHAT) {
    task.Clear();
    task.set_kind(v1::CHAT);
  }
  if (task.kind() == v1::TASK_KIND_UNSPECIFIED)
    return absl::InvalidArgumentError("task: the adapter names none, expected one in the request");
  return task;
}

absl::Status Serving::Load(Open* open) {
  const v1::ServingRequest& request = open->request;
  QZO_ASSIGN_OR_RETURN(open->engine, options_.engine_for(request.model_digest()));
  if (!request.adapter_blob().empty()) {
    QZO_ASSIGN_OR_RETURN(const std::string bytes, FetchVerified(options_.blobs, request.adapter_blob()));
    QZO_ASSIGN_OR_RETURN(method::Adapter adapter, method::DecodeAdapter(bytes));
    if (adapter.tensors != open->engine->model->info().TrainedBy(adapter.spec))
      return absl::FailedPreconditionError("the adapter's tensors are not those of its base model");
    open->adapter = std::make_shared<const method::Adapter>(std::move(adapter));
  }
  QZO_RETURN_IF_ERROR(MakePrompt(open));
  return CheckMemory(*open);
}

absl::Status Serving::CheckMemory(const Open& open) const {
  const int64_t tokens = static_cast<int64_t>(open.prompt.size()) + MaxTokens(open.request.generate().sampling());
  const model::ModelInfo& info = open.engine->model->info();
  int64_t bytes = model::TextBytes(info, tokens);
  if (open.adapter != nullptr) {
    bytes += info.PartitionFor(open.adapter->spec).values() * static_cast<int64_t>(sizeof(float));
  }
  const int64_t taken = options_.mapped_bytes() + *options_.workshop.replica_bytes;
  if (taken + bytes <= options_.workshop.memory_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("a text of ", tokens, " tokens with its adapter needs ",
                                                   base::HumanBytes(static_cast<uint64_t>(bytes)),
                                                   " beside models and replicas, more than this worker may use"));
}

absl::Status Serving::MakePrompt(Open* open) const {
  const model::Tokenizer& tokenizer = open->engine->model->tokenizer();
  const v1::GenerateRequest& generate = open->request.generate();
  if (open->request.has_generate() && generate.has_prompt()) {
    QZO_ASSIGN_OR_RETURN(open->prompt, tokenizer.Encode(generate.prompt(), /*parse_special=*/false));
    if (tokenizer.add_bos() && tokenizer.bos()) open->prompt.insert(open->prompt.begin(), *tokenizer.bos());
    return absl::OkStatus();
  }
  QZO_ASSIGN_OR_RETURN(open->task_message, TaskOf(*open));
  rpc::ResolveTask(model::DefaultsFor(tokenizer), &open->task_message);
  QZO_ASSIGN_OR_RETURN(open->task, rpc::ToTaskSpec(open->task_message));
  if (open->request.has_generate()) {
    std::string row = generate.row();
    if (generate.has_conversation()) {
      QZO_ASSIGN_OR_RETURN(row, RowOf(generate.conversation()));
    }
    QZO_ASSIGN_OR_RETURN(const model::Example example, model::MakeInferenceExample(open->task, tokenizer, row));
    open->prompt = example.prompt;
    return absl::OkStatus();
  }
  if (open->task.kind != model::TaskKind::kClassification)
    return absl::InvalidArgumentError("task: not a classification, which alone has options to score");
  for (const std::string& row : open->request.score().rows()) {
    QZO_ASSIGN_OR_RETURN(model::Example example, model::MakeInferenceExample(open->task, tokenizer, row));
    open->rows.push_back(std::move(example));
  }
  return absl::OkStatus();
}

bool Serving::Turn() {
  {
    base::MutexLock lock(&mu_);
    preparing_.insert(preparing_.end(), arrived_.begin(), arrived_.end());
    arrived_.clear();
  }
  const auto take = [this](std::list<OpenPtr>* list, auto step) {
    for (auto at = list->begin(); at != list->end();) {
      const OpenPtr open = *at;
      const absl::StatusOr<bool> done = IsOpen(open) ? step(open) : absl::StatusOr<bool>(true);
      if (!done.ok()) End(open, done.status());
      at = done.ok() && !*done ? std::next(at) : list->erase(at);
    }
  };
  try {
    take(&preparing_, [this](const OpenPtr& open) -> absl::StatusOr<bool> {
      QZO_ASSIGN_OR_RETURN(const bool ready, Prepare(open.get()));
      if (ready) QZO_RETURN_IF_ERROR(Begin(open));
      return ready;
    });
    take(&scoring_, [this](const OpenPtr& open) { return ScoreNext(open.get()); });
    for (auto batch = batches_.begin(); batch != batches_.end();) {
      WriteNext(&batch->second);
      batch = batch->second.batch->empty() ? batches_.erase(batch) : std::next(batch);
    }
  } catch (const std::bad_alloc&) {
    std::set<OpenPtr> all;
    {
      base::MutexLock lock(&mu_);
      all = open_;
    }
    for (const OpenPtr& open : all) End(open, absl::ResourceExhaustedError("out of memory"));
    preparing_.clear(), scoring_.clear(), batches_.clear(), tuned_.clear();
  }
  base::MutexLock lock(&mu_);
  turning_ = !preparing_.empty() || !scoring_.empty() || !batches_.empty() || !arrived_.empty();
  return turning_;
}

absl::StatusOr<bool> Serving::Prepare(Open* open) {
  if (open->tuned == nullptr) {
    const Key key(open->request.model_digest(), open->request.adapter_blob());
    const auto known =
        std::find_if(tuned_.begin(), tuned_.end(), [&](const auto& entry) { return entry.first == key; });
    if (known != tuned_.end()) {
      tuned_.splice(tuned_.begin(), tuned_, known);
    } else {
      auto tuned = std::make_shared<Tuned>();
      tuned->engine = open->engine;
      if (open->adapter == nullptr) {
        tuned->lane = std::make_unique<model::PlainLane>();
      } else {
        QZO_ASSIGN_OR_RETURN(tuned->replica,
                             model::Replica::Create(*open->engine->model, SpecOf(*open->adapter),
                                                    *options_.workshop.kernels, options_.workshop.pool));
        if (open->adapter->has_multipliers())
          QZO_RETURN_IF_ERROR(tuned->replica->Restore(open->adapter->step, open->adapter->multipliers));
        tuned->lane = tuned->replica->CurrentLane();
      }
      tuned_.emplace_front(key, std::move(tuned));
      DropOldReplicas();
    }
    open->tuned = tuned_.front().second;
  }
  model::Replica* const replica = open->tuned->replica.get();
  if (replica == nullptr || open->adapter->has_multipliers()) return true;
  const absl::Duration end = options_.workshop.clock->Monotonic() + options_.replay_slice;
  const std::vector<method::StepRecord>& journal = open->adapter->journal;
  while (replica->step() < journal.size()) {
    if (options_.workshop.clock->Monotonic() > end) return false;
    QZO_RETURN_IF_ERROR(replica->Apply(journal[replica->step()].coefficients));
  }
  return true;
}

void Serving::DropOldReplicas() {
  size_t kept = 0, bytes = 0;
  auto at = tuned_.begin();
  for (; at != tuned_.end(); ++at, ++kept) {
    const model::Replica* replica = at->second->replica.get();
    if (replica != nullptr) bytes += replica->multipliers().size() * sizeof(float);
    if (kept > 0 && (kept == kAdaptersKept || bytes > kReplicaBytesKept)) break;
  }
  tuned_.erase(at, tuned_.end());
}

absl::Status Serving::Begin(const OpenPtr& open) {
  if (open->request.has_score()) {
    scoring_.push_back(open);
    return absl::OkStatus();
  }
  const model::Model& model = *open->engine->model;
  Batch& batch = batches_[open->request.model_digest()];
  if (batch.batch == nullptr) {
    batch.engine = open->engine;
    batch.batch = std::make_unique<model::GenerationBatch>(model, *options_.workshop.kernels, options_.workshop.pool,
                                                           options_.arithmetic);
  }
  const model::SamplingOptions sampling = SamplingOf(open->request.generate().sampling(), model.tokenizer());
  QZO_ASSIGN_OR_RETURN(const uint64_t text, batch.batch->Add(open->prompt, sampling, open->tuned->lane.get()));
  open->text = std::make_unique<model::TextStream>(&model.tokenizer());
  batch.texts[text] = open;
  return absl::OkStatus();
}

absl::StatusOr<bool> Serving::ScoreNext(Open* open) {
  const size_t row = static_cast<size_t>(open->scores.rows_size());
  QZO_ASSIGN_OR_RETURN(const std::vector<double> scores,
                       open->engine->engine.OptionScores(open->rows[row], open->tuned->lane.get()));
  AddScores(scores, &open->scores);
  if (row + 1 < open->rows.size()) return false;
  for (int i = 0; i < open->task_message.options_size(); ++i) {
    open->scores.add_labels(i < open->task_message.label_names_size()
                                ? open->task_message.label_names(i)
                                : std::string(absl::StripAsciiWhitespace(open->task_message.options(i))));
  }
  v1::ServingMessage message;
  message.set_request(open->request.request());
  *message.mutable_scores() = std::move(open->scores);
  open->uplink->Send(message);
  base::MutexLock lock(&mu_);
  std::erase_if(open_, [&](const OpenPtr& other) { return other.get() == open; });
  if (open_.empty()) idle_.SignalAll();
  return true;
}

void Serving::WriteNext(Batch* batch) {
  for (auto at = batch->texts.begin(); at != batch->texts.end();) {
    if (IsOpen(at->second)) {
      ++at;
    } else {
      batch->batch->Remove(at->first);
      at = batch->texts.erase(at);
    }
  }
  for (const model::GenerationBatch::Progress& progress : batch->batch->Step()) {
    const OpenPtr open = batch->texts.at(progress.text);
    const absl::Status sent = SendText(open.get(), progress);
    if (!sent.ok()) batch->batch->Remove(progress.text);
    if (!sent.ok() || progress.end) {
      End(open, sent);
      batch->texts.erase(progress.text);
    }
  }
}

absl::Status Serving::SendText(Open* open, const model::GenerationBatch::Progress& progress) {
  v1::ServingMessage message;
  message.set_request(open->request.request());
  v1::GenerateResponse& text = *message.mutable_text();
  if (progress.token) {
    QZO_ASSIGN_OR_RETURN(*text.mutable_text(), open->text->Add(*progress.token));
    ++open->tokens;
  }
  if (progress.end) {
    text.set_finish(*progress.end == model::GenerationBatch::End::kStop ? v1::GenerateResponse::STOP
                                                                        : v1::GenerateResponse::LENGTH);
  }
  if (text.text().empty() && !progress.end) return absl::OkStatus();
  text.set_prompt_tokens(static_cast<uint32_t>(open->prompt.size()));
  text.set_tokens(open->tokens);
  open->uplink->Send(message);
  return absl::OkStatus();
}

}  // namespace qzo::worker
