// The coordinate system of noise, journal and adapter: which tensors are trained, in which order, with how many
// multipliers or deltas.
#ifndef QZO_METHOD_PARTITION_H_
#define QZO_METHOD_PARTITION_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "method/spec.h"

namespace qzo::method {

// A quantized matrix W [rows, cols] whose rows are cut into scale groups of `group` columns (1 = plain floats: one
// group a row is meant, so `group` = cols).
struct TensorShape {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t group = 0;  // divides cols
  // Trained not by multipliers but by a delta for every value, which is added to it; `group` is cols.
  bool deltas = false;

  friend bool operator==(const TensorShape&, const TensorShape&) = default;
};

struct PartitionTensor {
  TensorShape shape;
  uint32_t ordinal = 0;  // in the whole partition: what keys its noise and digest
  int64_t offset = 0;    // of its first value in the flat array
  int64_t count = 0;     // kChannel: rows; kGroup: rows · cols / group, row-major; deltas: rows · cols
  int64_t unit = 0;      // of its first multiplier among those of the partition, deltas left out
};

// Immutable; thread-safe.
class Partition {
 public:
  Partition(Granularity granularity, std::vector<TensorShape> shapes);
  // The tensors [first, first + count) alone, under the ordinals that they have here: what a stage trains.
  Partition Slice(size_t first, size_t count) const;

  Granularity granularity() const { return granularity_; }
  absl::Span<const PartitionTensor> tensors() const { return tensors_; }
  // The i-th of the tensors with multipliers, and of those with deltas; of a slice, too, counted in the whole.
  const PartitionTensor& multiplied(int i) const { return multiplied_.At(tensors_, i); }
  const PartitionTensor& added(int i) const { return added_.At(tensors_, i); }
  int64_t values() const { return values_; }  // of the flat array: multipliers and deltas
  int64_t deltas() const { return deltas_; }
  int64_t multipliers() const { return values_ - deltas_; }
  int64_t first_value() const { return first_value_; }  // of a slice: where it lies in the whole
  std::vector<float> InitialValues() const;             // multipliers 1, deltas 0

 private:
  // The tensors of a sort, by their places in tensors_.
  struct Index {
    int first = 0;  // in the whole
    std::vector<size_t> places;
    const PartitionTensor& At(const std::vector<PartitionTensor>& tensors, int i) const {
      return tensors[places.at(static_cast<size_t>(i - first))];
    }
  };

  explicit Partition(Granularity granularity) : granularity_(granularity) {}
  void Append(PartitionTensor tensor);  // behind the others, `ordinal` and `count` given

  Granularity granularity_;
  std::vector<PartitionTensor> tensors_;
  Index multiplied_, added_;
  int64_t values_ = 0;
  int64_t deltas_ = 0;
  int64_t first_value_ = 0;
};

// Digest of a replica: Σ mod 2⁶⁴ over tensors of XXH3(ordinal ‖ values as little-endian fp32). `values` is the flat
// array. The digests of a partition's slices add up to its own.
uint64_t ReplicaDigest(const Partition& partition, absl::Span<const float> values);

}  // namespace qzo::method

#endif  // QZO_METHOD_PARTITION_H_
