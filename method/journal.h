// The journal: what the coordinator decided at each step, and its byte formats (docs/formats.md, "Journal"). It holds
// nothing that depends on time, place or who worked. Pure; decoding is safe on any bytes.
#ifndef QZO_METHOD_JOURNAL_H_
#define QZO_METHOD_JOURNAL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "method/rule.h"

namespace qzo::method {

// One step. d and coefficients have one value per probe; a probe that took no part has d = NaN and coefficient 0.
struct StepRecord {
  uint32_t step = 0;
  std::vector<float> d;
  std::vector<float> coefficients;
};

// Consecutive steps from `records.front().step`, and the rule's state after the last of them.
struct JournalChunk {
  std::vector<StepRecord> records;
  RuleState state_after;
};

// One chunk, checksummed (XXH3 64). Every record must have the same number of probes and follow its predecessor.
std::string EncodeChunk(const JournalChunk& chunk);

// Decodes the chunk at the front of `*bytes` and removes it. Possible errors: DATA_LOSS with what is wrong and where.
absl::StatusOr<JournalChunk> DecodeChunk(std::string_view* bytes);

// A whole journal: chunks that follow each other from step 0, possibly none. DATA_LOSS when one is damaged or missing.
absl::StatusOr<JournalChunk> DecodeJournal(std::string_view bytes);

// Re-derives every coefficient from d by the rule. DATA_LOSS names the first step whose coefficients are not those the
// journal holds; OK means the journal followed the method.
absl::Status CheckCoefficients(const MethodSpec& spec, absl::Span<const StepRecord> records_from_step_0);

}  // namespace qzo::method

#endif  // QZO_METHOD_JOURNAL_H_
