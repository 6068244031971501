#include "model/graph/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/graph/cpu_passes.h"
#include "model/graph/losses.h"
#include "model/graph/pack.h"

namespace qzo::model {
namespace {

using ExampleSpan = absl::Span<const Example* const>;

absl::Status CheckTokens(absl::Span<const int32_t> ids, const ModelInfo& info) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= info.vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("token ", id, " is outside the vocabulary of ", info.vocabulary));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLength(size_t tokens, const ModelInfo& info) {
  if (tokens >= 1 && tokens <= static_cast<size_t>(info.context_length)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(tokens, " tokens, expected 1 to the model's context of ", info.context_length));
}

absl::Status CheckExample(TaskKind kind, const Example& example, const ModelInfo& info) {
  const size_t prompt = example.prompt.size(), branches = example.branches.size();
  if (prompt == 0 || branches == 0) return absl::InvalidArgumentError("an example without prompt or without branch");
  QZO_RETURN_IF_ERROR(CheckTokens(example.prompt, info));
  for (const std::vector<int32_t>& branch : example.branches) {
    if (branch.empty()) return absl::InvalidArgumentError("an example with an empty branch");
    QZO_RETURN_IF_ERROR(CheckTokens(branch, info));
    QZO_RETURN_IF_ERROR(CheckLength(prompt + branch.size() - 1, info));
  }
  if (kind == TaskKind::kClassification) {
    if (!example.scored.empty())
      return absl::InvalidArgumentError("all tokens of an option count, but some are marked");
    if (example.label >= 0 && example.label < static_cast<int64_t>(branches)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("label ", example.label, " of an example with ", branches, " options"));
  }
  if (branches != 1)
    return absl::InvalidArgumentError(absl::StrCat("an answer in ", branches, " branches, expected one"));
  if (!example.scored.empty() && example.scored.size() != example.branches[0].size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(example.scored.size(), " marks for an answer of ", example.branches[0].size(), " tokens"));
  }
  return absl::OkStatus();
}

}  // namespace

class Engine::Impl {
 public:
  Impl(const Model& model, std::unique_ptr<Passes> passes, int64_t max_rows)
      : info_(model.info()), max_rows_(max_rows), passes_(std::move(passes)) {}

  absl::Status Losses(TaskKind kind, ExampleSpan examples, LaneSource* lanes, std::vector<ExampleLoss>* out) {
    for (const Example* example : examples) QZO_RETURN_IF_ERROR(CheckExample(kind, *example, info_));
    QZO_RETURN_IF_ERROR(LogProbs(examples, lanes->lanes(), lanes));
    out->clear();
    for (int lane = 0; lane < lanes->lanes(); ++lane) {
      for (const Example* example : examples) {
        out->push_back(LossOf(kind, *example, LogProbsOf(lane, example), &scores_));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<double>> OptionScores(const Example& example, LaneSource* lanes) {
    Example labelled = example;  // its scores do not depend on the label, which inference has none of
    labelled.label = 0;
    QZO_RETURN_IF_ERROR(CheckExample(TaskKind::kClassification, labelled, info_));
    const Example* one = &labelled;
    QZO_RETURN_IF_ERROR(LogProbs({&one, 1}, 1, lanes));
    std::vector<double> scores;
    OptionScoresOf(example, LogProbsOf(0, one), &scores);
    return scores;
  }

  absl::StatusOr<std::vector<float>> Logits(absl::Span<const int32_t> ids, LaneSource* lanes) {
    QZO_RETURN_IF_ERROR(CheckLength(ids.size(), info_));
    QZO_RETURN_IF_ERROR(CheckTokens(ids, info_));
    pack_.Clear();
    AppendSequence(ids, info_.FirstPosition(static_cast<int64_t>(ids.size())), &pack_);
    return passes_->Logits(pack_, lanes);
  }

  int64_t arena_bytes() const {
    return passes_->bytes() + Bytes(pack_.tokens) + Bytes(pack_.positions) + Bytes(pack_.spans) + Bytes(pack_.kept) +
           Bytes(pack_.targets) + Bytes(log_probs_);
  }

 private:
  template <typename T>
  static int64_t Bytes(const std::vector<T>& values) {
    return static_cast<int64_t>(values.capacity() * sizeof(T));
  }

  // What LogProbs found for one of its examples under `lane`.
  absl::Span<const double> LogProbsOf(int lane, const Example* example) const {
    const size_t at =
        static_cast<size_t>(std::lower_bound(distinct_.begin(), distinct_.end(), example) - distinct_.begin());
    return absl::MakeConstSpan(log_probs_)
        .subspan(static_cast<size_t>(lane * slots_.back() + slots_[at]),
                 static_cast<size_t>(slots_[at + 1] - slots_[at]));
  }

  // Log-probabilities of all targets of `examples`, each computed once however often it is listed, under lanes [0,
  // lanes). Passes take (lane, example) pairs lane by lane, so that few passes see several lanes: each needs its
  // multipliers made.
  absl::Status LogProbs(ExampleSpan examples, int lane_count, LaneSource* lanes) {
    distinct_.assign(examples.begin(), examples.end());
    std::sort(distinct_.begin(), distinct_.end());
    distinct_.erase(std::unique(distinct_.begin(), distinct_.end()), distinct_.end());
    slots_.assign(1, 0);
    int64_t rows = 0;
    for (const Example* example : distinct_) {
      slots_.push_back(slots_.back() + Slots(*example));
      rows += PackedRows(*example);
    }
    log_probs_.assign(static_cast<size_t>(lane_count * slots_.back()), 0);
    done_slots_ = 0;

    // Passes of about equal size.
    const int64_t passes = std::max<int64_t>(1, (rows * lane_count + max_rows_ - 1) / max_rows_);
    const int64_t enough = (rows * lane_count + passes - 1) / passes;
    pack_.Clear();
    for (int lane = 0; lane < lane_count; ++lane) {
      for (const Example* example : distinct_) {
        if (pack_.rows() > 0 && (pack_.rows() >= enough || pack_.rows() + PackedRows(*example) > max_rows_)) {
          QZO_RETURN_IF_ERROR(RunPack(lanes));
        }
        AppendExample(*example, lane, info_.FirstPosition(LongestSequence(*example)), &pack_);
      }
    }
    QZO_RETURN_IF_ERROR(RunPack(lanes));
    return passes_->Finish(&log_probs_);
  }

  absl::Status RunPack(LaneSource* lanes) {
    QZO_RETURN_IF_ERROR(passes_->Run(pack_, lanes, done_slots_, &log_probs_));
    done_slots_ += pack_.slots;
    pack_.Clear();
    return absl::OkStatus();
  }

  const ModelInfo& info_;
  const int64_t max_rows_;
  const std::unique_ptr<Passes> passes_;
  Pack pack_;
  std::vector<const Example*> distinct_;  // ascending
  std::vector<int64_t> slots_;            // of each, and the end
  std::vector<double> log_probs_;         // [lanes, slots]
  int64_t done_slots_ = 0;                // of the passes that were run
  std::vector<double> scores_;
};

Engine::Engine(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
               kernels::Arithmetic arithmetic, int64_t max_rows)
    : Engine(model, std::make_unique<CpuPasses>(model, kernels, pool, arithmetic), max_rows) {}
Engine::Engine(const Model& model, std::unique_ptr<Passes> passes, int64_t max_rows)
    : impl_(std::make_unique<Impl>(model, std::move(passes), max_rows)) {}
Engine::~Engine() = default;

absl::Status Engine::Losses(TaskKind kind, absl::Span<const Example* const> examples, LaneSource* lanes,
                            std::vector<ExampleLoss>* out) {
  return impl_->Losses(kind, examples, lanes, out);
}

absl::StatusOr<std::vector<double>> Engine::OptionScores(const Example& example, LaneSource* lanes) {
  return impl_->OptionScores(example, lanes);
}

absl::StatusOr<std::vector<float>> Engine::Logits(absl::Span<const int32_t> ids, LaneSource* lanes) {
  return impl_->Logits(ids, lanes);
}

int64_t Engine::arena_bytes() const { return impl_->arena_bytes(); }

}  // namespace qzo::model
