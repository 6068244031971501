#include "model/graph/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/parallel.h"
#include "model/graph/forward.h"
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
  Impl(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool, int64_t max_rows)
      : info_(model.info()), kernels_(kernels), pool_(*pool), max_rows_(max_rows), forward_(model, kernels, pool) {}

  absl::Status Losses(TaskKind kind, ExampleSpan examples, LaneSource* lanes, std::vector<ExampleLoss>* out) {
    for (const Example* example : examples) QZO_RETURN_IF_ERROR(CheckExample(kind, *example, info_));
    const int lane_count = lanes->lanes();
    out->assign(static_cast<size_t>(lane_count) * examples.size(), {});
    for (size_t begin = 0; begin < examples.size();) {
      const size_t end = ExamplesThatFit(examples, begin, lane_count);
      const int64_t rows = PackExamples(examples.subspan(begin, end - begin));
      // Only an example that fits alone for fewer lanes than there are is cut by lanes.
      const int together = static_cast<int>(std::clamp<int64_t>(max_rows_ / rows, 1, lane_count));
      for (int lane = 0; lane < lane_count; lane += together) {
        const int lane_end = std::min(lane + together, lane_count);
        LogProbs(lane, lane_end, lanes);
        for (int l = lane; l < lane_end; ++l) {
          size_t at = static_cast<size_t>((l - lane) * pack_.slots);
          for (size_t i = begin; i < end; ++i) {
            const size_t slots = Slots(*examples[i]);
            (*out)[static_cast<size_t>(l) * examples.size() + i] =
                LossOf(kind, *examples[i], absl::MakeConstSpan(log_probs_).subspan(at, slots), &scores_);
            at += slots;
          }
        }
      }
      begin = end;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<double>> OptionScores(const Example& example, LaneSource* lanes) {
    Example labelled = example;  // its scores do not depend on the label, which inference has none of
    labelled.label = 0;
    QZO_RETURN_IF_ERROR(CheckExample(TaskKind::kClassification, labelled, info_));
    const Example* one = &labelled;
    PackExamples({&one, 1});
    LogProbs(0, 1, lanes);
    std::vector<double> scores;
    OptionScoresOf(example, log_probs_, &scores);
    return scores;
  }

  absl::StatusOr<std::vector<float>> Logits(absl::Span<const int32_t> ids, LaneSource* lanes) {
    QZO_RETURN_IF_ERROR(CheckLength(ids.size(), info_));
    QZO_RETURN_IF_ERROR(CheckTokens(ids, info_));
    pack_.Clear();
    AppendSequence(ids, &pack_);
    FillRows(0, 1);
    const float* hidden = forward_.Run(rows_, lanes, nullptr);
    std::vector<float> logits(ids.size() * static_cast<size_t>(info_.vocabulary));
    forward_.Head(hidden, static_cast<int64_t>(ids.size()), logits.data());
    return logits;
  }

  int64_t arena_bytes() const {
    return forward_.bytes() + logits_.bytes() + Bytes(rows_.tokens) + Bytes(rows_.positions) + Bytes(rows_.spans) +
           Bytes(rows_.kept) + Bytes(pack_.tokens) + Bytes(pack_.positions) + Bytes(pack_.spans) + Bytes(pack_.kept) +
           Bytes(pack_.targets) + Bytes(log_probs_) + Bytes(log_sums_);
  }

 private:
  template <typename T>
  static int64_t Bytes(const std::vector<T>& values) {
    return static_cast<int64_t>(values.capacity() * sizeof(T));
  }
  static size_t Slots(const Example& example) {
    size_t slots = 0;
    for (const std::vector<int32_t>& branch : example.branches) slots += branch.size();
    return slots;
  }

  // The end of the longest run of examples from `begin` that fits with all lanes; at least one.
  size_t ExamplesThatFit(ExampleSpan examples, size_t begin, int lanes) const {
    size_t end = begin + 1;
    int64_t rows = PackedRows(*examples[begin]);
    while (end < examples.size() && (rows + PackedRows(*examples[end])) * lanes <= max_rows_) {
      rows += PackedRows(*examples[end++]);
    }
    return end;
  }

  int64_t PackExamples(ExampleSpan examples) {
    pack_.Clear();
    for (const Example* example : examples) AppendExample(*example, &pack_);
    return pack_.rows();
  }

  // The rows of pack_ once per lane of [lane_begin, lane_end).
  void FillRows(int lane_begin, int lane_end) {
    rows_.Clear();
    for (int lane = lane_begin; lane < lane_end; ++lane) {
      const int32_t first = static_cast<int32_t>(rows_.rows());
      const int64_t kept = static_cast<int64_t>(rows_.kept.size());
      rows_.tokens.insert(rows_.tokens.end(), pack_.tokens.begin(), pack_.tokens.end());
      rows_.positions.insert(rows_.positions.end(), pack_.positions.begin(), pack_.positions.end());
      for (const kernels::KeySpan& span : pack_.spans) {
        rows_.spans.push_back(
            {span.prefix_begin + first, span.prefix_end + first, span.own_begin + first, span.own_end + first});
      }
      for (const int32_t row : pack_.kept) rows_.kept.push_back(row + first);
      rows_.lanes.push_back({.lane = lane,
                             .begin = first,
                             .end = rows_.rows(),
                             .kept_begin = kept,
                             .kept_end = static_cast<int64_t>(rows_.kept.size())});
    }
  }

  // log_probs_[lane − lane_begin][slot] of every target of pack_.
  void LogProbs(int lane_begin, int lane_end, LaneSource* lanes) {
    log_probs_.assign(static_cast<size_t>((lane_end - lane_begin) * pack_.slots), 0);
    if (pack_.targets.empty()) return;
    FillRows(lane_begin, lane_end);
    const float* hidden = forward_.Run(rows_, lanes, nullptr);
    const int64_t rows = static_cast<int64_t>(rows_.kept.size());
    const int64_t vocabulary = info_.vocabulary;
    const int64_t together = std::min(rows, kHeadRows);
    float* logits = logits_.Get(together * vocabulary);
    log_sums_.resize(static_cast<size_t>(together));
    const size_t per_lane = pack_.targets.size();
    const size_t all = per_lane * static_cast<size_t>(lane_end - lane_begin);
    size_t next = 0;  // target of all lanes' targets, lane by lane: they ascend in kept row, as the chunks do
    for (int64_t begin = 0; begin < rows; begin += together) {
      const int64_t n = std::min(together, rows - begin);
      forward_.Head(hidden + begin * info_.embedding_length, n, logits);
      kernels::LogSumExp(kernels_, pool_, logits, vocabulary, n, vocabulary, log_sums_.data());
      for (; next < all; ++next) {
        const Target& target = pack_.targets[next % per_lane];
        const int64_t lane = static_cast<int64_t>(next / per_lane);
        const int64_t row = lane * static_cast<int64_t>(pack_.kept.size()) + target.kept - begin;
        if (row >= n) break;
        log_probs_[static_cast<size_t>(lane * pack_.slots + target.slot)] =
            double{logits[row * vocabulary + target.token]} - log_sums_[static_cast<size_t>(row)];
      }
    }
  }

  const ModelInfo& info_;
  const kernels::Kernels& kernels_;
  kernels::ThreadPool& pool_;
  const int64_t max_rows_;
  Forward forward_;
  Pack pack_;
  PassRows rows_;
  Buffer logits_;
  std::vector<double> log_sums_;
  std::vector<double> log_probs_;
  std::vector<double> scores_;
};

Engine::Engine(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool, int64_t max_rows)
    : impl_(std::make_unique<Impl>(model, kernels, pool, max_rows)) {}
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
