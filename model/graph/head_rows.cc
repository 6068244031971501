#include "model/graph/head_rows.h"

#include <algorithm>

#include "kernels/parallel.h"

namespace qzo::model {

void HeadRows::Add(const Pack& pack, const float* hidden, int64_t first_slot, std::vector<double>* log_probs) {
  const int64_t dim = info_.embedding_length;
  size_t next = 0;  // target; they ascend in kept row
  for (int64_t kept = 0; kept < static_cast<int64_t>(pack.kept.size()); ++kept) {
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
  forward_.Head(input_.Get(0), waiting_, logits);
  kernels::LogSumExp(kernels_, pool_, logits, vocabulary, waiting_, vocabulary, log_sums_.data());
  for (const Target& target : targets_) {
    (*log_probs)[static_cast<size_t>(target.slot)] =
        double{logits[target.kept * vocabulary + target.token]} - log_sums_[static_cast<size_t>(target.kept)];
  }
  waiting_ = 0;
  targets_.clear();
}

int64_t HeadRows::bytes() const {
  return input_.bytes() + logits_.bytes() +
         static_cast<int64_t>(targets_.capacity() * sizeof(Target) + log_sums_.capacity() * sizeof(double));
}

}  // namespace qzo::model
