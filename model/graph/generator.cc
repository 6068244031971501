#include "model/graph/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/philox.h"
#include "base/status_macros.h"
#include "model/graph/forward.h"
#include "model/graph/losses.h"

namespace qzo::model {
namespace {

constexpr int64_t kPrefillRows = 512;  // of a pass: bounds the activations of a long prompt

absl::Status CheckOptions(const SamplingOptions& options) {
  if (options.max_tokens < 0)
    return absl::InvalidArgumentError(absl::StrCat("max_tokens: ", options.max_tokens, ", expected 0 or more"));
  if (!std::isfinite(options.temperature) || options.temperature < 0) {
    return absl::InvalidArgumentError(absl::StrCat("temperature: ", options.temperature, ", expected 0 or more"));
  }
  if (options.top_k < 0)
    return absl::InvalidArgumentError(absl::StrCat("top_k: ", options.top_k, ", expected 0 or more"));
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("top_p: ", options.top_p, ", expected above 0 and up to 1"));
  }
  return absl::OkStatus();
}

// Uniform in [0, 1), 53 bits, for the index-th token.
double Uniform(uint64_t seed, uint32_t index) {
  const base::PhiloxWords words = base::Philox4x32(seed, {{index, 0, 0, 0}});
  return static_cast<double>((uint64_t{words.w[0]} << 32 | words.w[1]) >> 11) * 0x1p-53;
}

}  // namespace

class Generator::Impl {
 public:
  Impl(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool, kernels::Arithmetic arithmetic,
       LaneSource* lanes)
      : info_(model.info()),
        lanes_(lanes),
        forward_(model, kernels, pool, arithmetic),
        cache_(model.info()),
        logits_(static_cast<size_t>(info_.vocabulary)) {}

  absl::Status Generate(absl::Span<const int32_t> prompt, const SamplingOptions& options,
                        const std::function<bool(int32_t)>& emit) {
    QZO_RETURN_IF_ERROR(CheckOptions(options));
    QZO_RETURN_IF_ERROR(CheckPrompt(prompt));
    cache_.size = 0;
    for (size_t at = 0; at < prompt.size(); at += kPrefillRows) Append(prompt.subspan(at, kPrefillRows));
    for (int i = 0; i < options.max_tokens; ++i) {
      const int32_t token = options.temperature == 0 ? Greedy() : Sample(options, static_cast<uint32_t>(i));
      const auto& stops = options.stop_tokens;
      if (std::find(stops.begin(), stops.end(), token) != stops.end() || !emit(token)) break;
      if (i + 1 == options.max_tokens || cache_.size == info_.context_length) break;
      Append({&token, 1});
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CheckPrompt(absl::Span<const int32_t> prompt) const {
    if (prompt.empty() || prompt.size() > static_cast<size_t>(info_.context_length)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a prompt of ", prompt.size(), " tokens, expected 1 to the model's context of ", info_.context_length));
    }
    for (const int32_t id : prompt) {
      if (id >= 0 && id < info_.vocabulary) continue;
      return absl::InvalidArgumentError(absl::StrCat("token ", id, " is outside the vocabulary of ", info_.vocabulary));
    }
    return absl::OkStatus();
  }

  // Runs `tokens` after what the cache holds; logits_ are those after the last of them.
  void Append(absl::Span<const int32_t> tokens) {
    const int64_t first = cache_.size, end = first + static_cast<int64_t>(tokens.size());
    // Doubling, so that a long text is not copied at every token.
    if (end > room_) cache_.Reserve(room_ = std::min<int64_t>(std::max(end, 2 * room_), info_.context_length));
    rows_.Clear();
    for (const int32_t token : tokens) {
      const int32_t position = static_cast<int32_t>(first + rows_.rows());
      rows_.tokens.push_back(token);
      rows_.positions.push_back(position);
      rows_.spans.push_back({0, 0, 0, position + 1});
    }
    rows_.kept.push_back(static_cast<int32_t>(rows_.rows()) - 1);
    rows_.lanes.push_back({.lane = 0, .begin = 0, .end = rows_.rows(), .kept_begin = 0, .kept_end = 1});
    forward_.Head(forward_.Run(rows_, lanes_, &cache_), 1, logits_.data());
  }

  int32_t Greedy() const {
    return static_cast<int32_t>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
  }

  int32_t Sample(const SamplingOptions& options, uint32_t index) {
    order_.resize(logits_.size());
    std::iota(order_.begin(), order_.end(), 0);
    const auto before = [this](int32_t a, int32_t b) {
      const float x = logits_[static_cast<size_t>(a)], y = logits_[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    };
    size_t candidates = order_.size();
    if (options.top_k > 0) candidates = std::min(candidates, static_cast<size_t>(options.top_k));
    std::partial_sort(order_.begin(), order_.begin() + static_cast<int64_t>(candidates), order_.end(), before);
    weights_.clear();
    double total = 0;
    for (size_t i = 0; i < candidates; ++i) {
      const double below_best =
          double{logits_[static_cast<size_t>(order_[0])]} - double{logits_[static_cast<size_t>(order_[i])]};
      weights_.push_back(ExpDouble(-below_best / options.temperature));
      total += weights_.back();
    }
    // The least number of the likeliest candidates that hold top_p of the mass.
    double kept = 0;
    size_t count = 0;
    while (count < candidates && (count == 0 || kept < options.top_p * total)) kept += weights_[count++];
    double left = Uniform(options.seed, index) * kept;
    for (size_t i = 0; i + 1 < count; ++i) {
      left -= weights_[i];
      if (left < 0) return order_[i];
    }
    return order_[count - 1];
  }

  const ModelInfo& info_;
  LaneSource* const lanes_;
  Forward forward_;
  KeyValueCache cache_;
  int64_t room_ = 0;  // rows the cache has room for
  PassRows rows_;
  std::vector<float> logits_;
  std::vector<int32_t> order_;
  std::vector<double> weights_;
};

Generator::Generator(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
                     kernels::Arithmetic arithmetic, LaneSource* lanes)
    : impl_(std::make_unique<Impl>(model, kernels, pool, arithmetic, lanes)) {}
Generator::~Generator() = default;

absl::Status Generator::Generate(absl::Span<const int32_t> prompt, const SamplingOptions& options,
                                 const std::function<bool(int32_t)>& emit) {
  return impl_->Generate(prompt, options, emit);
}

}  // namespace qzo::model
