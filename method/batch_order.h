// Which rows make the batch of a step: a pure function of (job seed, step, dataset digest), so that nothing about rows
// ever travels with a step (docs/formats.md, "Batch order", with golden vectors). Random access, O(1) memory.
#ifndef QZO_METHOD_BATCH_ORDER_H_
#define QZO_METHOD_BATCH_ORDER_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "method/spec.h"

namespace qzo::method {

// The position-th element of a pseudo-random permutation of [0, size): an 8-round Feistel network over the least even
// number of bits that holds size, with Philox as its round function, walked until the value falls inside.
uint64_t PermutedIndex(uint64_t key, uint32_t stream, uint32_t epoch, uint64_t size, uint64_t position);

// Immutable; thread-safe.
class BatchOrder {
 public:
  // `rows_by_label`: rows of each label in ascending order (one list when there are no labels); kept by reference.
  // kShuffled visits every row once an epoch. kBalanced takes labels in turn, each label's rows shuffled on their own,
  // so that every batch holds the labels in equal parts; labels without rows are passed over.
  BatchOrder(const MethodSpec& spec, std::string_view dataset_digest,
             const std::vector<std::vector<int32_t>>& rows_by_label);

  // Rows of micro-batch m of step t, in order: batch_size / micro_batches of them.
  std::vector<int32_t> Rows(uint32_t step, uint32_t micro_batch) const;
  void Rows(uint32_t step, uint32_t micro_batch, std::vector<int32_t>* rows) const;

 private:
  int32_t Row(uint64_t position) const;

  const uint64_t key_;
  const uint32_t batch_size_;
  const uint32_t slice_;
  std::vector<std::vector<int32_t>> lists_;  // kShuffled: one list of all rows
};

// How many rows an evaluation reads, given how many each label has (one entry without labels). kShuffled: all of them,
// at most `limit` unless that is 0. kBalanced: as many of each label as the rarest has, at most limit / labels.
int64_t EvaluationRowCount(Sampling sampling, absl::Span<const int64_t> rows_per_label, uint32_t limit);

// Which: chosen once by the seed, ascending. A job that trains on labels in equal parts is judged on labels in equal
// parts, or its loss would rise for having unlearned how rare a label is. Evaluation item i is rows [32 i, 32 i + 32)
// of the list.
std::vector<int32_t> EvaluationRows(uint64_t seed, Sampling sampling,
                                    const std::vector<std::vector<int32_t>>& rows_by_label, uint32_t limit);
inline constexpr int kRowsPerEvaluationItem = 32;

}  // namespace qzo::method

#endif  // QZO_METHOD_BATCH_ORDER_H_
