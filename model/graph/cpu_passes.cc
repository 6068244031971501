#include "model/graph/cpu_passes.h"

#include <algorithm>

#include "base/status_macros.h"
#include "kernels/parallel.h"

namespace qzo::model {

absl::Status CpuPasses::Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) {
  if (pack.kept.empty()) return absl::OkStatus();
  const float* hidden = forward_.Run(pack, lanes, {});
  size_t next = 0;  // target; they ascend in kept row
  for (int64_t kept = 0; kept < static_cast<int64_t>(pack.kept.size()); ++kept) {
    const int64_t dim = info_.embedding_length;
    std::copy_n(hidden + kept * dim, dim, head_input_.Get(kHeadRows * dim) + waiting_ * dim);
    for (; next < pack.targets.size() && pack.targets[next].kept == kept; ++next) {
      targets_.push_back({waiting_, pack.targets[next].token, first_slot + pack.targets[next].slot});
    }
    if (++waiting_ == kHeadRows) QZO_RETURN_IF_ERROR(Finish(log_probs));
  }
  return absl::OkStatus();
}

absl::Status CpuPasses::Finish(std::vector<double>* log_probs) {
  if (waiting_ == 0) return absl::OkStatus();
  const int64_t vocabulary = info_.vocabulary;
  float* logits = logits_.Get(waiting_ * vocabulary);
  log_sums_.resize(static_cast<size_t>(waiting_));
  forward_.Head(head_input_.Get(0), waiting_, logits);
  kernels::LogSumExp(kernels_, pool_, logits, vocabulary, waiting_, vocabulary, log_sums_.data());
  for (const Target& target : targets_) {
    (*log_probs)[static_cast<size_t>(target.slot)] =
        double{logits[target.kept * vocabulary + target.token]} - log_sums_[static_cast<size_t>(target.kept)];
  }
  waiting_ = 0;
  targets_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> CpuPasses::Logits(const Pack& pack, LaneSource* lanes) {
  const float* hidden = forward_.Run(pack, lanes, {});
  std::vector<float> logits(pack.kept.size() * static_cast<size_t>(info_.vocabulary));
  forward_.Head(hidden, static_cast<int64_t>(pack.kept.size()), logits.data());
  return logits;
}

int64_t CpuPasses::bytes() const {
  return forward_.bytes() + head_input_.bytes() + logits_.bytes() +
         static_cast<int64_t>(targets_.capacity() * sizeof(Target) + log_sums_.capacity() * sizeof(double));
}

}  // namespace qzo::model
