#include "server/audit_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/resource_names.h"

namespace qzo::server {
namespace {

constexpr size_t kMaxTextBytes = 512;
constexpr double kBurstSeconds = 10;
constexpr size_t kMaxWrite = 1000;  // records in one batch: steps share its transaction
constexpr int kSlice = 1000;        // records forgotten at once, for the same reason
constexpr absl::Duration kForgetInterval = absl::Minutes(1);

// What callers send cannot look like another value, nor like another line, nor be without end.
std::string Shown(const std::string& text) {
  std::string escaped = absl::CHexEscape(text.substr(0, kMaxTextBytes));
  if (text.size() > kMaxTextBytes) escaped += "...";
  return escaped;
}

std::string Quoted(const std::string& text) { return absl::StrCat("\"", text, "\""); }

// Of "projects/p/jobs/j", "p"; "" when there is none, or every one is meant.
std::string ProjectOf(const std::string& resource) {
  const std::vector<std::string> parts = absl::StrSplit(resource, absl::MaxSplits('/', 2));
  return parts.size() >= 2 && parts[0] == "projects" && CheckId("", parts[1]).ok() ? parts[1] : "";
}

}  // namespace

AuditLog::AuditLog(const Options& options, Store* store, const base::Clock* clock,
                   prometheus::Family<prometheus::Counter>* unstored)
    : options_(options),
      store_(store),
      clock_(clock),
      unstored_(unstored->Add({{"cause", "store"}})),
      unstored_strangers_(unstored->Add({{"cause", "strangers"}})),
      allowance_(options.strangers_per_second * kBurstSeconds),
      allowance_at_(clock->Monotonic()),
      forget_at_(clock->Monotonic()) {}

AuditLog::~AuditLog() {
  base::MutexLock lock(&mu_);
  if (writing_ == 0) StartWrite();
  while (writing_ > 0) changed_.Wait(&mu_);
  if (waiting_.empty()) return;
  spdlog::error("the last {} audit records are in this log alone", waiting_.size());
}

uint64_t AuditLog::Enqueue(StoredAudit call) {
  call.time = clock_->Now();
  call.project = ProjectOf(call.resource);
  call.caller = Shown(call.caller);
  call.peer = Shown(call.peer);
  call.resource = Shown(call.resource);
  spdlog::info("audit caller={} peer={} method={} resource={} code={}{}", Quoted(call.caller), Quoted(call.peer),
               call.method, Quoted(call.resource), call.code,
               call.reason.empty() ? "" : absl::StrCat(" reason=", Quoted(call.reason)));
  base::MutexLock lock(&mu_);
  if (call.caller.empty()) {
    const double rate = options_.strangers_per_second;
    const absl::Duration now = clock_->Monotonic();
    const double passed = absl::ToDoubleSeconds(now - std::exchange(allowance_at_, now));
    allowance_ = std::min(rate * kBurstSeconds, allowance_ + rate * passed);
    if (allowance_ < 1) {
      unstored_strangers_.Increment();
      return 0;
    }
    allowance_ -= 1;
  }
  if (waiting_.size() >= options_.max_waiting) {
    unstored_.Increment();
    if (!std::exchange(full_, true)) {
      spdlog::error("{} audit records wait for the store: those that follow are in this log alone", waiting_.size());
    }
    return 0;
  }
  waiting_.push_back(std::move(call));
  if (writing_ == 0 && !failing_) StartWrite();
  return ++accepted_;
}

void AuditLog::AddDurably(StoredAudit call) {
  const uint64_t number = Enqueue(std::move(call));
  base::MutexLock lock(&mu_);
  while (written_ < number && !failing_) changed_.Wait(&mu_);
}

void AuditLog::StartWrite() {
  writing_ = std::min(waiting_.size(), kMaxWrite);
  if (writing_ == 0) return;
  WriteBatch batch;
  for (size_t i = 0; i < writing_; ++i) batch.emplace_back(AppendAudit{waiting_[i]});
  store_->Submit(std::move(batch), [this](const absl::Status& status) { Written(status); });
}

void AuditLog::Written(const absl::Status& status) {
  base::MutexLock lock(&mu_);
  if (!status.ok() && !failing_) {
    spdlog::error("audit records cannot be stored and wait in memory: {}", status.ToString());
  } else if (status.ok() && failing_) {
    spdlog::info("audit records are stored again");
  }
  failing_ = !status.ok();
  const size_t answered = std::exchange(writing_, 0);
  if (status.ok()) {
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(answered));
    written_ += answered;
    full_ = false;
    StartWrite();
  }
  changed_.SignalAll();
}

void AuditLog::Tick() {
  {
    base::MutexLock lock(&mu_);
    if (failing_ && writing_ == 0) StartWrite();
    if (clock_->Monotonic() < forget_at_) return;
  }
  Forget();
}

void AuditLog::Forget() {
  const absl::StatusOr<std::vector<StoredAudit>> newest = store_->ListAudit({.limit = 1});
  const absl::StatusOr<std::vector<StoredAudit>> oldest = store_->ListAudit({.oldest_first = true, .limit = kSlice});
  if (!newest.ok() || !oldest.ok() || newest->empty()) return;
  const absl::Time too_old = clock_->Now() - options_.kept;
  const uint64_t last = newest->front().sequence;
  const uint64_t too_many = last - std::min(last, options_.max_records);  // this one and all before
  size_t forgotten = 0;
  while (forgotten < oldest->size() &&
         ((*oldest)[forgotten].sequence <= too_many || (*oldest)[forgotten].time < too_old)) {
    ++forgotten;
  }
  if (forgotten > 0) {
    store_->Submit({ForgetAudit{(*oldest)[forgotten - 1].sequence}}, [](const absl::Status& status) {
      if (!status.ok()) spdlog::warn("old audit records are kept: {}", status.ToString());
    });
  }
  base::MutexLock lock(&mu_);
  // At once again when there is more.
  forget_at_ = clock_->Monotonic() + (forgotten == kSlice ? absl::ZeroDuration() : kForgetInterval);
}

}  // namespace qzo::server
