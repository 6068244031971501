#include "method/partition.h"

#include <bit>

#include "base/digest.h"
#include "base/log.h"

namespace qzo::method {

static_assert(std::endian::native == std::endian::little, "digests and files hold little-endian fp32");

Partition::Partition(Granularity granularity, std::vector<TensorShape> shapes) : granularity_(granularity) {
  for (TensorShape& shape : shapes) {
    QZO_CHECK(shape.rows > 0 && shape.cols > 0 && shape.group > 0 && shape.cols % shape.group == 0);
    const int64_t count = granularity == Granularity::kChannel ? shape.rows : shape.rows * (shape.cols / shape.group);
    tensors_.push_back({std::move(shape), static_cast<uint32_t>(tensors_.size()), multipliers_, count});
    multipliers_ += count;
  }
}

Partition Partition::Slice(size_t first, size_t count) const {
  QZO_CHECK(count > 0 && first + count <= tensors_.size());
  Partition slice(granularity_);
  slice.first_multiplier_ = first_multiplier_ + tensors_[first].offset;
  for (size_t i = first; i < first + count; ++i) {
    PartitionTensor& tensor = slice.tensors_.emplace_back(tensors_[i]);
    tensor.offset = slice.multipliers_;
    slice.multipliers_ += tensor.count;
  }
  return slice;
}

uint64_t ReplicaDigest(const Partition& partition, absl::Span<const float> multipliers) {
  QZO_CHECK(static_cast<int64_t>(multipliers.size()) == partition.multipliers());
  uint64_t sum = 0;
  for (const PartitionTensor& tensor : partition.tensors()) {
    const char* bytes = reinterpret_cast<const char*>(multipliers.data() + tensor.offset);
    sum += base::Xxh3WithId(tensor.ordinal, {bytes, static_cast<size_t>(tensor.count) * sizeof(float)});
  }
  return sum;
}

}  // namespace qzo::method
