#include "method/batch_order.h"

#include <algorithm>

#include "base/digest.h"
#include "base/log.h"
#include "base/philox.h"

namespace qzo::method {
namespace {

constexpr int kRounds = 8;
constexpr uint32_t kEvaluationStream = 0x6576616c;  // "eval": apart from the streams of labels

std::vector<int32_t> AllRows(const std::vector<std::vector<int32_t>>& rows_by_label) {
  std::vector<int32_t> all;
  for (const std::vector<int32_t>& rows : rows_by_label) all.insert(all.end(), rows.begin(), rows.end());
  std::sort(all.begin(), all.end());
  return all;
}

// `count` of `rows`, chosen by the seed.
void Choose(uint64_t seed, uint32_t stream, const std::vector<int32_t>& rows, int64_t count,
            std::vector<int32_t>* out) {
  for (uint64_t i = 0; i < static_cast<uint64_t>(count); ++i) {
    out->push_back(rows[PermutedIndex(seed, stream, 0, rows.size(), i)]);
  }
}

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
    std::vector<int32_t> all = AllRows(rows_by_label);
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

void BatchOrder::Rows(uint32_t step, uint32_t micro_batch, std::vector<int32_t>* rows) const {
  const uint64_t first = uint64_t{step} * batch_size_ + uint64_t{micro_batch} * slice_;
  rows->resize(slice_);
  for (uint32_t i = 0; i < slice_; ++i) (*rows)[i] = Row(first + i);
}

std::vector<int32_t> BatchOrder::Rows(uint32_t step, uint32_t micro_batch) const {
  std::vector<int32_t> rows;
  Rows(step, micro_batch, &rows);
  return rows;
}

int64_t EvaluationRowCount(Sampling sampling, absl::Span<const int64_t> rows_per_label, uint32_t limit) {
  int64_t total = 0, labels = 0, rarest = 0;
  for (const int64_t rows : rows_per_label) {
    total += rows;
    if (rows == 0) continue;
    rarest = labels++ == 0 ? rows : std::min(rarest, rows);
  }
  if (sampling == Sampling::kShuffled || labels <= 1) return limit == 0 ? total : std::min<int64_t>(total, limit);
  return labels * (limit == 0 ? rarest : std::min(rarest, std::max<int64_t>(1, limit / labels)));
}

std::vector<int32_t> EvaluationRows(uint64_t seed, Sampling sampling,
                                    const std::vector<std::vector<int32_t>>& rows_by_label, uint32_t limit) {
  std::vector<int64_t> rows_per_label;
  rows_per_label.reserve(rows_by_label.size());
  for (const std::vector<int32_t>& rows : rows_by_label) rows_per_label.push_back(static_cast<int64_t>(rows.size()));
  const int64_t count = EvaluationRowCount(sampling, rows_per_label, limit);
  std::vector<int32_t> chosen;
  if (sampling == Sampling::kBalanced) {
    const int64_t labels =
        std::count_if(rows_per_label.begin(), rows_per_label.end(), [](int64_t rows) { return rows > 0; });
    const int64_t share = count / std::max<int64_t>(1, labels);
    uint32_t stream = kEvaluationStream;
    for (const std::vector<int32_t>& rows : rows_by_label) {
      if (!rows.empty()) Choose(seed, stream++, rows, share, &chosen);
    }
  } else {
    std::vector<int32_t> all = AllRows(rows_by_label);
    if (count == static_cast<int64_t>(all.size())) return all;
    Choose(seed, kEvaluationStream, all, count, &chosen);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace qzo::method
