#include "model/graph/head_rows.h"

#include <algorithm>

#include "kernels/parallel.h"

namespace qzo::model {

void HeadRows::Add(const Pack& pack, const float* hidden, LaneSource* lanes, int64_t first_slot,
                   std::vector<double>* log_probs) {
  const int64_t dim = info_.embedding_length;
  lanes_ = lanes;
  size_t next = 0;  // target; they ascend in kept row
  auto slice = pack.lanes.begin();
  for (int64_t kept = 0; kept < static_cast<int64_t>(pack.kept.size()); ++kept) {
    while (kept >= slice->kept_end) ++slice;
    if (slices_.empty() || slices_.back().lane != slice->lane) {
      slices_.push_back({.lane = slice->lane, .kept_begin = waiting_, .kept_end = waiting_});
    }
    ++slices_.back().kept_end;
    std::copy_n(hidden + kept * dim, dim, input_.Get(kHeadRows * dim) + waiting_ * dim);
    for (; next < pack.targets.size() && pack.targets[next].kept == kept; ++next) {
      targets_.push_back({waiting_, pack.targets[next].token, first_slot + pack.targets[next].slot});
    }
    if (++waiting_ == kHeadRows) Finish(log_probs);
  }
}

void HeadRows::Finish(std::vector<double>* log_probs) {
  if (waiting_ == 0) return;
  const int64_t vocabulary = info_.vocabulary;
  float* logits = logits_.Get(waiting_ * vocabulary);
  log_sums_.resize(static_cast<size_t>(waiting_));
  forward_.Head(input_.Get(0), slices_, lanes_, logits);
  kernels::LogSumExp(kernels_, pool_, logits, vocabulary, waiting_, vocabulary, log_sums_.data());
  for (const Target& target : targets_) {
    (*log_probs)[static_cast<size_t>(target.slot)] =
        double{logits[target.kept * vocabulary + target.token]} - log_sums_[static_cast<size_t>(target.kept)];
  }
  waiting_ = 0;
  targets_.clear();
  slices_.clear();
}

int64_t HeadRows::bytes() const {
  return input_.bytes() + logits_.bytes() +
         static_cast<int64_t>(targets_.capacity() * sizeof(Target) + slices_.capacity() * sizeof(LaneSlice) +
                              log_sums_.capacity() * sizeof(double));
}

}  // namespace qzo::model
