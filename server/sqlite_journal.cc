#include "server/sqlite_journal.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::server {
namespace {

constexpr size_t kMaxProbes = 64;  // method::DecodeChunk takes no more

// Consecutive steps, and σ̂² after each of them.
struct Steps {
  method::JournalChunk chunk;
  std::vector<double> mean_square;
};

// A journal chunk, then σ̂² after each step (8 bytes), then XXH3 of those. The chunk alone knows σ̂² only at its end.
std::string EncodeSteps(const Steps& steps) {
  const std::string_view squares(reinterpret_cast<const char*>(steps.mean_square.data()),
                                 steps.mean_square.size() * sizeof(double));
  const uint64_t checksum = base::Xxh3(squares);
  std::string out = method::EncodeChunk(steps.chunk);
  out.append(squares);
  out.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
  return out;
}

absl::StatusOr<Steps> DecodeSteps(std::string_view bytes) {
  Steps steps;
  QZO_ASSIGN_OR_RETURN(steps.chunk, method::DecodeChunk(&bytes));
  const size_t squares = steps.chunk.records.size() * sizeof(double);
  uint64_t checksum = 0;
  if (bytes.size() == squares + sizeof checksum) std::memcpy(&checksum, bytes.data() + squares, sizeof checksum);
  if (bytes.size() != squares + sizeof checksum || checksum != base::Xxh3(bytes.substr(0, squares))) {
    return absl::DataLossError(absl::StrCat("journal chunk at step ", steps.chunk.records.front().step, ": ",
                                            bytes.size(), " bytes of mean squares, expected ", squares,
                                            " and their checksum"));
  }
  steps.mean_square.resize(steps.chunk.records.size());
  std::memcpy(steps.mean_square.data(), bytes.data(), squares);
  return steps;
}

absl::Status WithJob(const absl::Status& status, std::string_view uid) {
  return absl::Status(status.code(), absl::StrCat("job ", base::ToAbsl(uid), ": ", status.message()));
}

absl::Status CheckRecord(const AppendStep& append) {
  const method::StepRecord& record = append.record;
  if (record.d.empty() || record.d.size() > kMaxProbes || record.d.size() != record.coefficients.size()) {
    return absl::InvalidArgumentError(absl::StrCat("job ", append.uid, ", step ", record.step, ": ", record.d.size(),
                                                   " values of d and ", record.coefficients.size(),
                                                   " coefficients, expected as many, 1 to ", kMaxProbes));
  }
  if (!std::all_of(record.coefficients.begin(), record.coefficients.end(), [](float c) { return std::isfinite(c); }) ||
      !std::isfinite(append.state_after.mean_square) || append.state_after.mean_square < 0) {
    return absl::InvalidArgumentError(absl::StrCat("job ", append.uid, ", step ", record.step,
                                                   ": a coefficient or the mean square is not a finite number"));
  }
  return absl::OkStatus();
}

// Why the fence refused.
absl::Status FenceError(SqliteConnection* db, const AppendStep& append) {
  QZO_ASSIGN_OR_RETURN(
      SqlCursor fence,
      db->Query("SELECT epoch, next_step, probes FROM fence JOIN resource ON resource = number WHERE uid = ?1",
                append.uid));
  QZO_ASSIGN_OR_RETURN(const bool found, fence.Next());
  const std::string what = absl::StrCat("job ", append.uid, ": append of step ", append.record.step, " in epoch ",
                                        append.epoch, " refused: ");
  if (!found) return absl::AbortedError(absl::StrCat(what, "there is no such job"));
  const uint64_t epoch = static_cast<uint64_t>(fence.Int(0));
  if (epoch != append.epoch) return absl::AbortedError(absl::StrCat(what, "the job is in epoch ", epoch));
  if (fence.Int(1) != append.record.step)
    return absl::AbortedError(absl::StrCat(what, "the next step is ", fence.Int(1)));
  return absl::InvalidArgumentError(
      absl::StrCat(what, append.record.d.size(), " probes, the steps before have ", fence.Int(2)));
}

absl::Status Compact(SqliteConnection* db, int64_t job) {
  Steps all;
  {
    QZO_ASSIGN_OR_RETURN(SqlCursor tail, db->Query("SELECT record FROM step_tail WHERE job = ?1 ORDER BY step", job));
    for (;;) {
      QZO_ASSIGN_OR_RETURN(const bool row, tail.Next());
      if (!row) break;
      QZO_ASSIGN_OR_RETURN(Steps steps, DecodeSteps(tail.Bytes(0)));
      all.chunk.records.push_back(std::move(steps.chunk.records.front()));
      all.chunk.state_after = steps.chunk.state_after;
      all.mean_square.push_back(steps.mean_square.front());
    }
  }
  const uint32_t first = all.chunk.records.front().step;
  if (all.chunk.records.size() != kStepsPerChunk || all.chunk.records.back().step != first + kStepsPerChunk - 1) {
    return absl::DataLossError(absl::StrCat("journal from step ", first, ": ", all.chunk.records.size(),
                                            " rows, expected ", kStepsPerChunk, " consecutive ones"));
  }
  const std::string bytes = EncodeSteps(all);
  QZO_RETURN_IF_ERROR(db->Run("INSERT INTO step_chunk(job, first, last, records) VALUES (?1, ?2, ?3, ?4)", job, first,
                              first + kStepsPerChunk - 1, SqlBlob{bytes}));
  return db->Run("DELETE FROM step_tail WHERE job = ?1", job);
}

// Appends to `*out` what `cursor` (records in its column 0) holds of [from, to).
absl::Status Take(SqlCursor cursor, uint32_t from, uint32_t to, method::JournalChunk* out) {
  for (;;) {
    QZO_ASSIGN_OR_RETURN(const bool row, cursor.Next());
    if (!row) return absl::OkStatus();
    QZO_ASSIGN_OR_RETURN(Steps steps, DecodeSteps(cursor.Bytes(0)));
    for (size_t i = 0; i < steps.chunk.records.size(); ++i) {
      method::StepRecord& record = steps.chunk.records[i];
      if (record.step < from || record.step >= to) continue;
      if (record.step != from + out->records.size()) {
        return absl::DataLossError(absl::StrCat("journal: step ", record.step, " stands where step ",
                                                from + out->records.size(), " is expected"));
      }
      out->records.push_back(std::move(record));
      out->state_after.mean_square = steps.mean_square[i];
    }
  }
}

absl::StatusOr<method::JournalChunk> ReadSteps(SqliteConnection* db, int64_t job, uint32_t from, uint32_t to) {
  method::JournalChunk out;
  QZO_ASSIGN_OR_RETURN(
      SqlCursor chunks,
      db->Query("SELECT records FROM step_chunk WHERE job = ?1 AND last >= ?2 AND first < ?3 ORDER BY last", job, from,
                to));
  QZO_RETURN_IF_ERROR(Take(std::move(chunks), from, to, &out));
  QZO_ASSIGN_OR_RETURN(
      SqlCursor tail,
      db->Query("SELECT record FROM step_tail WHERE job = ?1 AND step >= ?2 AND step < ?3 ORDER BY step", job, from,
                to));
  QZO_RETURN_IF_ERROR(Take(std::move(tail), from, to, &out));
  if (out.records.size() != to - from) {
    return absl::DataLossError(
        absl::StrCat("journal: ", out.records.size(), " steps from ", from, ", expected ", to - from));
  }
  return out;
}

}  // namespace

absl::Status AppendJournalStep(SqliteConnection* db, const AppendStep& append) {
  QZO_RETURN_IF_ERROR(CheckRecord(append));
  const uint32_t step = append.record.step;
  QZO_ASSIGN_OR_RETURN(
      const int64_t job,
      db->Value(
          0,
          "UPDATE fence SET next_step = next_step + 1, probes = ?4 WHERE resource = (SELECT number FROM resource "
          "WHERE uid = ?1) AND epoch = ?2 AND next_step = ?3 AND (next_step = 0 OR probes = ?4) RETURNING resource",
          append.uid, append.epoch, step, append.record.d.size()));
  if (job == 0) return FenceError(db, append);
  const std::string bytes = EncodeSteps({{{append.record}, append.state_after}, {append.state_after.mean_square}});
  QZO_RETURN_IF_ERROR(
      db->Run("INSERT INTO step_tail(job, step, record) VALUES (?1, ?2, ?3)", job, step, SqlBlob{bytes}));
  if ((step + 1) % kStepsPerChunk != 0) return absl::OkStatus();
  const absl::Status compacted = Compact(db, job);
  return compacted.ok() ? compacted : WithJob(compacted, append.uid);
}

absl::StatusOr<method::JournalChunk> ReadJournalSteps(SqliteConnection* db, std::string_view uid, uint32_t from,
                                                      uint32_t to) {
  QZO_ASSIGN_OR_RETURN(
      SqlCursor job,
      db->Query("SELECT number, next_step FROM resource JOIN fence ON resource = number WHERE uid = ?1", uid));
  QZO_ASSIGN_OR_RETURN(const bool found, job.Next());
  if (!found) return method::JournalChunk();
  const uint32_t end = std::min(to, static_cast<uint32_t>(job.Int(1)));
  if (from >= end) return method::JournalChunk();
  absl::StatusOr<method::JournalChunk> steps = ReadSteps(db, job.Int(0), from, end);
  if (!steps.ok()) return WithJob(steps.status(), uid);
  return steps;
}

}  // namespace qzo::server
