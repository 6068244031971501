#include "model/graph/generation_batch.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <numeric>
#include <utility>

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

// Lane 0 of several sources as the lanes of one. They have the same granularity.
class JoinedLanes final : public LaneSource {
 public:
  void Clear() { sources_.clear(); }
  void Add(LaneSource* source) { sources_.push_back(source); }

  int lanes() const override { return static_cast<int>(sources_.size()); }
  kernels::Granularity granularity() const override { return sources_.front()->granularity(); }
  void Prepare(int lane_begin, int lane_end, int first, int count) override {
    for (int lane = lane_begin; lane < lane_end; ++lane)
      sources_[static_cast<size_t>(lane)]->Prepare(0, 1, first, count);
  }
  const float* Multipliers(int lane, int ordinal) override {
    return sources_[static_cast<size_t>(lane)]->Multipliers(0, ordinal);
  }
  bool has_deltas(int lane) const override { return sources_[static_cast<size_t>(lane)]->has_deltas(0); }
  void AddDeltas(int lane, int tensor, int64_t begin, int64_t count, float* x) const override {
    sources_[static_cast<size_t>(lane)]->AddDeltas(0, tensor, begin, count, x);
  }

 private:
  std::vector<LaneSource*> sources_;
};

}  // namespace

int64_t TextBytes(const ModelInfo& info, int64_t tokens) {
  return std::min<int64_t>(tokens, info.context_length) * info.layers * 2 * info.kv_heads * info.head_dim *
         static_cast<int64_t>(sizeof(float));
}

class GenerationBatch::Impl {
 public:
  Impl(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool, kernels::Arithmetic arithmetic)
      : info_(model.info()), forward_(model, kernels, pool, arithmetic) {}

  absl::StatusOr<uint64_t> Add(absl::Span<const int32_t> prompt, const SamplingOptions& options, LaneSource* lanes) {
    QZO_RETURN_IF_ERROR(CheckOptions(options));
    QZO_RETURN_IF_ERROR(CheckPrompt(prompt));
    texts_.emplace_back(next_id_++, options, lanes, info_);
    const int64_t tokens = static_cast<int64_t>(prompt.size()) + options.max_tokens;
    texts_.back().first_position = info_.FirstPosition(std::min<int64_t>(tokens, info_.context_length));
    for (size_t at = 0; at < prompt.size(); at += kPrefillRows) {
      rows_.Clear();
      lanes_.Clear();
      AppendRows(prompt.subspan(at, kPrefillRows), &texts_.back());
      RunPass({&texts_.back()});
    }
    return texts_.back().id;
  }

  void Remove(uint64_t id) {
    texts_.remove_if([id](const Text& text) { return text.id == id; });
  }

  std::vector<Progress> Step() {
    for (const auto granularity : {kernels::Granularity::kChannel, kernels::Granularity::kGroup}) RunNext(granularity);
    std::vector<Progress> progress;
    for (auto text = texts_.begin(); text != texts_.end();) {
      progress.push_back(Choose(&*text));
      text = progress.back().end ? texts_.erase(text) : std::next(text);
    }
    return progress;
  }

  bool empty() const { return texts_.empty(); }

 private:
  struct Text {
    Text(uint64_t id_in, const SamplingOptions& options_in, LaneSource* lanes_in, const ModelInfo& info)
        : id(id_in), options(options_in), lanes(lanes_in), cache(info), logits(static_cast<size_t>(info.vocabulary)) {}
    const uint64_t id;
    const SamplingOptions options;
    LaneSource* const lanes;
    KeyValueCache cache;
    int64_t room = 0;              // rows the cache has room for
    int32_t first_position = 0;    // ModelInfo::FirstPosition of all that it may become
    std::vector<float> logits;     // after its last token
    std::optional<int32_t> token;  // its last one, unless the logits are those after it
    int count = 0;                 // tokens given so far
  };

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

  // Rows of `tokens`, which come after what the text's cache holds, as one more lane of the pass.
  void AppendRows(absl::Span<const int32_t> tokens, Text* text) {
    const int64_t first = text->cache.size, end = first + static_cast<int64_t>(tokens.size());
    // Doubling, so that a long text is not copied at every token.
    if (end > text->room) {
      text->room = std::min<int64_t>(std::max(end, 2 * text->room), info_.context_length);
      text->cache.Reserve(text->room);
    }
    const int64_t begin = rows_.rows();
    for (size_t i = 0; i < tokens.size(); ++i) {
      const int32_t position = static_cast<int32_t>(first + static_cast<int64_t>(i));
      rows_.tokens.push_back(tokens[i]);
      rows_.positions.push_back(text->first_position + position);
      rows_.spans.push_back({0, 0, 0, position + 1});
    }
    const auto kept = static_cast<int64_t>(rows_.kept.size());
    rows_.kept.push_back(static_cast<int32_t>(rows_.rows()) - 1);
    rows_.lanes.push_back(
        {.lane = lanes_.lanes(), .begin = begin, .end = rows_.rows(), .kept_begin = kept, .kept_end = kept + 1});
    lanes_.Add(text->lanes);
  }

  // Runs rows_, which are those of `texts` in turn, and gives each of them its logits.
  void RunPass(const std::vector<Text*>& texts) {
    caches_.clear();
    for (Text* text : texts) caches_.push_back(&text->cache);
    const auto count = static_cast<int64_t>(texts.size());
    logits_.resize(static_cast<size_t>(count * info_.vocabulary));
    const float* hidden = forward_.Run(rows_, &lanes_, caches_);
    forward_.Head(hidden, rows_.lanes, &lanes_, logits_.data());
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto* row = logits_.data() + static_cast<int64_t>(i) * info_.vocabulary;
      texts[i]->logits.assign(row, row + info_.vocabulary);
    }
  }

  // The texts whose adapters are of this granularity go on together.
  void RunNext(kernels::Granularity granularity) {
    std::vector<Text*> texts;
    rows_.Clear();
    lanes_.Clear();
    for (Text& text : texts_) {
      if (!text.token || text.lanes->granularity() != granularity) continue;
      AppendRows({&*text.token, 1}, &text);
      text.token.reset();
      texts.push_back(&text);
    }
    if (!texts.empty()) RunPass(texts);
  }

  Progress Choose(Text* text) {
    const SamplingOptions& options = text->options;
    if (text->count == options.max_tokens) return {.text = text->id, .end = End::kLength};
    const int32_t token = options.temperature == 0 ? Greedy(text->logits)
                                                   : Sample(text->logits, options, static_cast<uint32_t>(text->count));
    const auto& stops = options.stop_tokens;
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) return {.text = text->id, .end = End::kStop};
    text->token = token;
    Progress progress{.text = text->id, .token = token};
    if (++text->count == options.max_tokens || text->cache.size == info_.context_length) progress.end = End::kLength;
    return progress;
  }

  int32_t Greedy(const std::vector<float>& logits) const {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }

  int32_t Sample(const std::vector<float>& logits, const SamplingOptions& options, uint32_t index) {
    order_.resize(logits.size());
    std::iota(order_.begin(), order_.end(), 0);
    const auto before = [&logits](int32_t a, int32_t b) {
      const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    };
    size_t candidates = order_.size();
    if (options.top_k > 0) candidates = std::min(candidates, static_cast<size_t>(options.top_k));
    std::partial_sort(order_.begin(), order_.begin() + static_cast<int64_t>(candidates), order_.end(), before);
    weights_.clear();
    double total = 0;
    for (size_t i = 0; i < candidates; ++i) {
      const double below_best =
          double{logits[static_cast<size_t>(order_[0])]} - double{logits[static_cast<size_t>(order_[i])]};
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
  Forward forward_;
  std::list<Text> texts_;
  uint64_t next_id_ = 1;
  PassRows rows_;
  JoinedLanes lanes_;
  std::vector<KeyValueCache*> caches_;
  std::vector<float> logits_;
  std::vector<int32_t> order_;
  std::vector<double> weights_;
};

GenerationBatch::GenerationBatch(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
                                 kernels::Arithmetic arithmetic)
    : impl_(std::make_unique<Impl>(model, kernels, pool, arithmetic)) {}
GenerationBatch::~GenerationBatch() = default;

absl::StatusOr<uint64_t> GenerationBatch::Add(absl::Span<const int32_t> prompt, const SamplingOptions& options,
                                              LaneSource* lanes) {
  return impl_->Add(prompt, options, lanes);
}
void GenerationBatch::Remove(uint64_t text) { impl_->Remove(text); }
std::vector<GenerationBatch::Progress> GenerationBatch::Step() { return impl_->Step(); }
bool GenerationBatch::empty() const { return impl_->empty(); }

}  // namespace qzo::model
