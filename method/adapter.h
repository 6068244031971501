// The adapter file: a trained result as a safetensors file (docs/formats.md, "Adapter"), so that any tool that reads
// safetensors can open it. __metadata__ names the base model, the partition and the method; the data is either the
// journal (one U8 tensor "qzo.journal": kilobytes) or the multipliers and deltas (one F32 tensor per trained tensor,
// named as in the model). Pure; decoding is safe on any bytes.
#ifndef QZO_METHOD_ADAPTER_H_
#define QZO_METHOD_ADAPTER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "method/journal.h"
#include "method/partition.h"
#include "method/spec.h"

namespace qzo::method {

struct Adapter {
  std::string base_model_digest;  // SHA-256, hex
  MethodSpec spec;
  std::vector<TensorShape> tensors;  // the partition's, in order
  uint32_t step = 0;                 // steps applied
  uint64_t replica_digest = 0;       // of the multipliers at `step`; 0 = not recorded
  std::string job;                   // name of the job that made it, for people
  std::string task_json;             // how to use it: the job's Task as proto JSON; may be empty
  // One of the two; a journal holds steps [0, step).
  std::vector<StepRecord> journal;
  RuleState state_after;
  std::vector<float> multipliers;  // and deltas: the partition's flat array

  bool has_multipliers() const { return !multipliers.empty(); }
};

std::string EncodeAdapter(const Adapter& adapter);

// Possible errors: INVALID_ARGUMENT (not an adapter file, what is wrong where), DATA_LOSS (journal damaged).
absl::StatusOr<Adapter> DecodeAdapter(std::string_view bytes);

}  // namespace qzo::method

#endif  // QZO_METHOD_ADAPTER_H_
