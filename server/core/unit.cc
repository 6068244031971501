#include "server/core/unit.h"

#include <bit>
#include <cmath>
#include <set>

#include "base/log.h"
#include "server/core/kinds.h"

namespace qzo::server::core {
namespace {

bool Finite(const Unit::Answer& answer) {
  if (const auto* losses = std::get_if<method::ItemLosses>(&answer)) {
    return std::isfinite(losses->plus) && std::isfinite(losses->minus);
  }
  return true;  // an evaluation's loss may be infinite: it is shown, nothing is computed from it
}

// Bit for bit, so that NaN equals itself.
bool Same(const Unit::Answer& a, const Unit::Answer& b) {
  const auto same = [](double x, double y) { return std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(y); };
  if (const auto* x = std::get_if<method::ItemLosses>(&a)) {
    const auto* y = std::get_if<method::ItemLosses>(&b);
    return y != nullptr && same(x->plus, y->plus) && same(x->minus, y->minus) && x->count == y->count;
  }
  const auto& x = std::get<model::EvalSums>(a);
  const auto* y = std::get_if<model::EvalSums>(&b);
  return y != nullptr && same(x.loss_sum, y->loss_sum) && x.loss_count == y->loss_count && x.confusion == y->confusion;
}

// Losses of an item, which are sums over `count`; whatever is not finite, or has no tolerance, is not compared.
bool Near(const Unit::Answer& a, const Unit::Answer& b, std::optional<double> tolerance) {
  const auto *x = std::get_if<method::ItemLosses>(&a), *y = std::get_if<method::ItemLosses>(&b);
  if (x == nullptr || y == nullptr || !tolerance || !Finite(a) || !Finite(b)) return true;
  const double bound = *tolerance * static_cast<double>(x->count);
  return x->count == y->count && std::abs(x->plus - y->plus) <= bound && std::abs(x->minus - y->minus) <= bound;
}

}  // namespace

Unit::Unit(uint32_t step, std::optional<Split> evaluate, uint32_t items, absl::Duration now, size_t layers)
    : step_(step), evaluate_(evaluate), planned_(now), layers_(layers), items_(items) {
  QZO_CHECK(items > 0);
}

std::vector<std::pair<uint32_t, uint32_t>> Unit::Free(WorkerHandle worker, bool others) const {
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  for (uint32_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (item.answer || item.out > 0 || (others && item.suspect == worker)) continue;
    if (!ranges.empty() && ranges.back().first + ranges.back().second == i) {
      ++ranges.back().second;
    } else {
      ranges.emplace_back(i, 1);
    }
  }
  return ranges;
}

void Unit::Assign(WorkerHandle worker, uint32_t first, uint32_t count, absl::Duration now) {
  QZO_CHECK(Covers(first, count) && !assignments_.contains(worker));
  for (uint32_t i = first; i < first + count; ++i) ++items_[i].out;
  assignments_[worker] = {first, count, now};
}

const Assignment* Unit::Of(WorkerHandle worker) const {
  const auto it = assignments_.find(worker);
  return it == assignments_.end() ? nullptr : &it->second;
}

bool Unit::StillNeeded(const Assignment& assignment) const {
  for (uint32_t i = assignment.first; i < assignment.first + assignment.count; ++i) {
    if (!items_[i].answer) return true;
  }
  return false;
}

std::optional<uint32_t> Unit::Release(WorkerHandle worker, bool failure) {
  const auto it = assignments_.find(worker);
  if (it == assignments_.end()) return std::nullopt;
  std::optional<uint32_t> poison;
  for (uint32_t i = it->second.first; i < it->second.first + it->second.count; ++i) {
    Item& item = items_[i];
    --item.out;
    if (failure && !item.answer && ++item.failures >= kMaxItemFailures && !poison) poison = i;
  }
  assignments_.erase(it);
  return poison;
}

Unit::Verdict Unit::Take(WorkerHandle worker, const std::string& kind, uint32_t index, const Answer& answer,
                         absl::Duration now) {
  Item& item = items_[index];
  if (item.answer) {
    if (item.by == worker) return Verdict::kDuplicate;
    const bool agree = item.kind == kind ? Same(*item.answer, answer)
                                         : Near(*item.answer, answer, LossTolerance(item.kind, kind, layers_));
    return agree ? Verdict::kDuplicate : Verdict::kMismatch;
  }
  if (!Finite(answer) && !item.suspect) {
    item.suspect = worker;
    return Verdict::kAskAgain;
  }
  if (done_ == 0) first_answer_ = now;
  last_answer_ = now;
  item.answer = answer;
  item.kind = kind;
  item.by = worker;
  ++done_;
  return Verdict::kAccepted;
}

std::vector<method::ItemLosses> Unit::Losses() const {
  std::vector<method::ItemLosses> losses;
  losses.reserve(items_.size());
  for (const Item& item : items_) losses.push_back(std::get<method::ItemLosses>(*item.answer));
  return losses;
}

model::EvalSums Unit::Sums() const {
  model::EvalSums sums;
  for (const Item& item : items_) sums.Merge(std::get<model::EvalSums>(*item.answer));
  return sums;
}

uint32_t Unit::answering_workers() const {
  std::set<WorkerHandle> workers;
  for (const Item& item : items_) {
    if (item.answer) workers.insert(item.by);
  }
  return static_cast<uint32_t>(workers.size());
}

}  // namespace qzo::server::core
