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
    tensors_.push_back({std::move(shape), multipliers_, count});
    multipliers_ += count;
  }
}

uint64_t ReplicaDigest(const Partition& partition, absl::Span<const float> multipliers) {
  QZO_CHECK(static_cast<int64_t>(multipliers.size()) == partition.multipliers());
  uint64_t sum = 0;
  uint32_t ordinal = 0;
  for (const PartitionTensor& tensor : partition.tensors()) {
    const char* bytes = reinterpret_cast<const char*>(multipliers.data() + tensor.offset);
    sum += base::Xxh3WithId(ordinal++, {bytes, static_cast<size_t>(tensor.count) * sizeof(float)});
  }
  return sum;
}

}  // namespace qzo::method
