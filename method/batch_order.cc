#include "method/batch_order.h"

#include <algorithm>

#include "base/digest.h"
#include "base/log.h"
#include "base/philox.h"

namespace qzo::method {
namespace {

constexpr int kRounds = 8;

}  // namespace

uint64_t PermutedIndex(uint64_t key, uint32_t stream, uint32_t epoch, uint64_t size, uint64_t position) {
  int half_bits = 1;
  while (half_bits < 32 && (uint64_t{1} << (2 * half_bits)) < size) ++half_bits;
  const uint32_t mask = half_bits == 32 ? ~uint32_t{0} : (uint32_t{1} << half_bits) - 1;
  uint64_t value = position;
  do {
    uint32_t left = static_cast<uint32_t>(value >> half_bits);
    uint32_t right = static_cast<uint32_t>(value) & mask;
    for (uint32_t round = 0; round < kRounds; ++round) {
      const uint32_t f = base::Philox4x32(key, {{right, round, stream, epoch}}).w[0] & mask;
      const uint32_t next = left ^ f;
      left = right;
      right = next;
    }
    value = uint64_t{left} << half_bits | right;
  } while (value >= size);
  return value;
}

BatchOrder::BatchOrder(const MethodSpec& spec, std::string_view dataset_digest,
                       const std::vector<std::vector<int32_t>>& rows_by_label)
    : key_(spec.seed ^ base::Xxh3(dataset_digest)),
      batch_size_(spec.batch_size),
      slice_(spec.batch_size / spec.micro_batches) {
  if (spec.sampling == Sampling::kBalanced) {
    std::copy_if(rows_by_label.begin(), rows_by_label.end(), std::back_inserter(lists_),
                 [](const std::vector<int32_t>& rows) { return !rows.empty(); });
  } else {
    std::vector<int32_t> all;
    for (const std::vector<int32_t>& rows : rows_by_label) all.insert(all.end(), rows.begin(), rows.end());
    std::sort(all.begin(), all.end());
    if (!all.empty()) lists_.push_back(std::move(all));
  }
  QZO_CHECK(!lists_.empty());
}

int32_t BatchOrder::Row(uint64_t position) const {
  const uint64_t list = position % lists_.size();
  const uint64_t in_list = position / lists_.size();
  const std::vector<int32_t>& rows = lists_[list];
  const uint64_t index = PermutedIndex(key_, static_cast<uint32_t>(list), static_cast<uint32_t>(in_list / rows.size()),
                                       rows.size(), in_list % rows.size());
  return rows[index];
}

std::vector<int32_t> BatchOrder::Rows(uint32_t step, uint32_t micro_batch) const {
  const uint64_t first = uint64_t{step} * batch_size_ + uint64_t{micro_batch} * slice_;
  std::vector<int32_t> rows(slice_);
  for (uint32_t i = 0; i < slice_; ++i) rows[i] = Row(first + i);
  return rows;
}

}  // namespace qzo::method
