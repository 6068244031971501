#include "method/partition.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/digest.h"
#include "base/log.h"

namespace qzo::method {

static_assert(std::endian::native == std::endian::little, "digests and files hold little-endian fp32");

Partition::Partition(Granularity granularity, std::vector<TensorShape> shapes) : granularity_(granularity) {
  for (TensorShape& shape : shapes) {
    QZO_CHECK(shape.rows > 0 && shape.cols > 0 && shape.group > 0 && shape.cols % shape.group == 0);
    int64_t count = shape.rows;
    if (shape.deltas) {
      count *= shape.cols;
    } else if (granularity == Granularity::kGroup) {
      count *= shape.cols / shape.group;
    }
    Append({.shape = std::move(shape), .ordinal = static_cast<uint32_t>(tensors_.size()), .count = count});
  }
}

void Partition::Append(PartitionTensor tensor) {
  tensor.offset = values_;
  tensor.unit = multipliers();
  values_ += tensor.count;
  if (tensor.shape.deltas) deltas_ += tensor.count;
  (tensor.shape.deltas ? added_ : multiplied_).places.push_back(tensors_.size());
  tensors_.push_back(std::move(tensor));
}

Partition Partition::Slice(size_t first, size_t count) const {
  QZO_CHECK(count > 0 && first + count <= tensors_.size());
  Partition slice(granularity_);
  slice.first_value_ = first_value_ + tensors_[first].offset;
  const auto before = [first](const Index& index) {
    return index.first +
           static_cast<int>(std::lower_bound(index.places.begin(), index.places.end(), first) - index.places.begin());
  };
  slice.multiplied_.first = before(multiplied_);
  slice.added_.first = before(added_);
  for (size_t i = first; i < first + count; ++i) slice.Append(tensors_[i]);
  return slice;
}

std::vector<float> Partition::InitialValues() const {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(values_));
  for (const PartitionTensor& tensor : tensors_) {
    values.insert(values.end(), static_cast<size_t>(tensor.count), tensor.shape.deltas ? 0.0f : 1.0f);
  }
  return values;
}

uint64_t ReplicaDigest(const Partition& partition, absl::Span<const float> values) {
  QZO_CHECK(static_cast<int64_t>(values.size()) == partition.values());
  uint64_t sum = 0;
  for (const PartitionTensor& tensor : partition.tensors()) {
    const char* bytes = reinterpret_cast<const char*>(values.data() + tensor.offset);
    sum += base::Xxh3WithId(tensor.ordinal, {bytes, static_cast<size_t>(tensor.count) * sizeof(float)});
  }
  return sum;
}

}  // namespace qzo::method
