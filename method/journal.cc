#include "method/journal.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace qzo::method {
namespace {

constexpr char kMagic[4] = {'Q', 'Z', 'J', '1'};
// magic, first step, record count, probes, mean_square, checksum of the header and the body
constexpr size_t kHeaderBytes = 4 + 4 + 4 + 4 + 8 + 8;

template <typename T>
void Put(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
T Get(std::string_view bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

uint64_t Checksum(std::string_view head, std::string_view body) { return base::Xxh3(head) + 3 * base::Xxh3(body); }

}  // namespace

std::string EncodeChunk(const JournalChunk& chunk) {
  QZO_CHECK(!chunk.records.empty());
  const size_t probes = chunk.records.front().d.size();
  std::string body;
  uint32_t expected = chunk.records.front().step;
  for (const StepRecord& record : chunk.records) {
    QZO_CHECK(record.step == expected++ && record.d.size() == probes && record.coefficients.size() == probes);
    for (const float d : record.d) Put(&body, d);
    for (const float c : record.coefficients) Put(&body, c);
  }
  std::string out(kMagic, sizeof kMagic);
  Put(&out, chunk.records.front().step);
  Put(&out, static_cast<uint32_t>(chunk.records.size()));
  Put(&out, static_cast<uint32_t>(probes));
  Put(&out, chunk.state_after.mean_square);
  Put(&out, Checksum(out, body));
  return out + body;
}

absl::StatusOr<JournalChunk> DecodeChunk(std::string_view* bytes) {
  const std::string_view in = *bytes;
  if (in.size() < kHeaderBytes) {
    return absl::DataLossError(
        absl::StrCat("journal chunk: ", in.size(), " bytes, expected a header of ", kHeaderBytes));
  }
  if (std::memcmp(in.data(), kMagic, sizeof kMagic) != 0) {
    return absl::DataLossError("journal chunk: does not begin with QZJ1");
  }
  const uint32_t first = Get<uint32_t>(in, 4);
  const uint64_t count = Get<uint32_t>(in, 8);
  const uint64_t probes = Get<uint32_t>(in, 12);
  JournalChunk chunk;
  chunk.state_after.mean_square = Get<double>(in, 16);
  if (count == 0 || probes == 0 || probes > 64 || first + count > uint64_t{1} << 32) {
    return absl::DataLossError(
        absl::StrCat("journal chunk at step ", first, ": ", count, " records of ", probes, " probes is out of range"));
  }
  const uint64_t body_bytes = count * probes * 2 * sizeof(float);
  if (in.size() - kHeaderBytes < body_bytes) {
    return absl::DataLossError(absl::StrCat("journal chunk at step ", first, ": ", in.size() - kHeaderBytes,
                                            " bytes of records, expected ", body_bytes));
  }
  const std::string_view body = in.substr(kHeaderBytes, body_bytes);
  if (Checksum(in.substr(0, kHeaderBytes - 8), body) != Get<uint64_t>(in, kHeaderBytes - 8)) {
    return absl::DataLossError(absl::StrCat("journal chunk at step ", first, ": checksum does not match"));
  }
  if (!std::isfinite(chunk.state_after.mean_square) || chunk.state_after.mean_square < 0) {
    return absl::DataLossError(
        absl::StrCat("journal chunk at step ", first, ": mean square is not a number of at least 0"));
  }
  size_t offset = 0;
  const auto floats = [&] {
    std::vector<float> values(probes);
    std::memcpy(values.data(), body.data() + offset, probes * sizeof(float));
    offset += probes * sizeof(float);
    return values;
  };
  chunk.records.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    StepRecord record;
    record.step = first + static_cast<uint32_t>(i);
    record.d = floats();
    record.coefficients = floats();
    for (const float c : record.coefficients) {
      if (!std::isfinite(c))
        return absl::DataLossError(absl::StrCat("journal step ", record.step, ": coefficient is not finite"));
    }
    chunk.records.push_back(std::move(record));
  }
  bytes->remove_prefix(kHeaderBytes + body_bytes);
  return chunk;
}

absl::StatusOr<JournalChunk> DecodeJournal(std::string_view bytes) {
  JournalChunk journal;
  while (!bytes.empty()) {
    QZO_ASSIGN_OR_RETURN(JournalChunk chunk, DecodeChunk(&bytes));
    const uint64_t expected = journal.records.size();
    if (chunk.records.front().step != expected) {
      return absl::DataLossError(
          absl::StrCat("journal: a chunk begins at step ", chunk.records.front().step, ", expected ", expected));
    }
    if (!journal.records.empty() && journal.records.front().d.size() != chunk.records.front().d.size()) {
      return absl::DataLossError(absl::StrCat("journal: the number of probes changes at step ", expected));
    }
    for (StepRecord& record : chunk.records) journal.records.push_back(std::move(record));
    journal.state_after = chunk.state_after;
  }
  return journal;
}

absl::Status CheckCoefficients(const MethodSpec& spec, absl::Span<const StepRecord> records_from_step_0) {
  RuleState state;
  uint32_t step = 0;
  for (const StepRecord& record : records_from_step_0) {
    if (record.step != step)
      return absl::DataLossError(absl::StrCat("journal step ", record.step, ", expected ", step));
    const std::vector<float> expected = Coefficients(spec, step, record.d, &state);
    for (size_t p = 0; p < expected.size(); ++p) {
      if (p >= record.coefficients.size() ||
          std::bit_cast<uint32_t>(expected[p]) != std::bit_cast<uint32_t>(record.coefficients[p])) {
        return absl::DataLossError(absl::StrCat("journal step ", step, ", probe ", p,
                                                ": the coefficient is not what the rule gives for its d"));
      }
    }
    ++step;
  }
  return absl::OkStatus();
}

}  // namespace qzo::method
