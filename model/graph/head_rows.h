// Rows that wait for the head, collected over passes: it reads many rows at little more than the cost of one.
#ifndef QZO_MODEL_GRAPH_HEAD_ROWS_H_
#define QZO_MODEL_GRAPH_HEAD_ROWS_H_

#include <vector>

#include "model/graph/forward.h"
#include "model/graph/pack.h"

namespace qzo::model {

// Thread-compatible.
class HeadRows {
 public:
  // The arguments must outlive it.
  HeadRows(const ModelInfo& info, const kernels::Kernels& kernels, kernels::ThreadPool* pool, Forward* forward)
      : info_(info), kernels_(kernels), pool_(*pool), forward_(*forward) {}

  // Takes the hidden states of the pack's kept rows. The log-probabilities of its targets go to
  // log_probs[first_slot + slot], at the latest by the next Finish, until which `lanes` must live and be the same.
  void Add(const Pack& pack, const float* hidden, LaneSource* lanes, int64_t first_slot,
           std::vector<double>* log_probs);
  void Finish(std::vector<double>* log_probs);
  bool empty() const { return waiting_ == 0; }
  int64_t bytes() const;

 private:
  const ModelInfo& info_;
  const kernels::Kernels& kernels_;
  kernels::ThreadPool& pool_;
  Forward& forward_;

  Buffer input_;  // [at most kHeadRows, embedding_length]
  int64_t waiting_ = 0;
  std::vector<Target> targets_;    // of those
  std::vector<LaneSlice> slices_;  // whose they are
  LaneSource* lanes_ = nullptr;
  Buffer logits_;
  std::vector<double> log_sums_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_HEAD_ROWS_H_
