// The coordinate system of noise, journal and adapter: which tensors are trained, in which order, with how many
// multipliers.
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

  friend bool operator==(const TensorShape&, const TensorShape&) = default;
};

struct PartitionTensor {
  TensorShape shape;
  uint32_t ordinal = 0;  // in the whole partition: what keys its noise and digest
  int64_t offset = 0;    // of its first multiplier in the flat array
  int64_t count = 0;     // kChannel: rows; kGroup: rows · cols / group, row-major
};

// Immutable; thread-safe.
class Partition {
 public:
  Partition(Granularity granularity, std::vector<TensorShape> shapes);
  // The tensors [first, first + count) alone, under the ordinals that they have here: what a stage trains.
  Partition Slice(size_t first, size_t count) const;

  Granularity granularity() const { return granularity_; }
  absl::Span<const PartitionTensor> tensors() const { return tensors_; }
  const PartitionTensor& tensor(int ordinal) const {
    return tensors_.at(static_cast<size_t>(ordinal) - tensors_.front().ordinal);
  }
  int64_t multipliers() const { return multipliers_; }
  int64_t first_multiplier() const { return first_multiplier_; }  // of a slice: where it lies in the whole

 private:
  explicit Partition(Granularity granularity) : granularity_(granularity) {}

  Granularity granularity_;
  std::vector<PartitionTensor> tensors_;
  int64_t multipliers_ = 0;
  int64_t first_multiplier_ = 0;
};

// Digest of a replica: Σ mod 2⁶⁴ over tensors of XXH3(ordinal ‖ multipliers as little-endian fp32). `multipliers` is
// the flat array. The digests of a partition's slices add up to its own.
uint64_t ReplicaDigest(const Partition& partition, absl::Span<const float> multipliers);

}  // namespace qzo::method

#endif  // QZO_METHOD_PARTITION_H_
