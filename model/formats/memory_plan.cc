#include "model/formats/memory_plan.h"

#include <algorithm>

#include "method/partition.h"

namespace qzo::model {
namespace {

constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
// Linux maps the pages around the one that is read, where they are in memory: a row of an embedding brings so many
// bytes.
constexpr int64_t kFaultAround = 64 << 10;
// Of a token's spelling and its places in the tokenizer's tables; of the program, its libraries and its threads.
constexpr int64_t kTokenBytes = 160;
constexpr int64_t kProgramBytes = 24 << 20;

}  // namespace

MemoryPlan PlanMemory(const ModelInfo& info, const method::MethodSpec& method, int32_t longest_row, int64_t tokens) {
  MemoryPlan plan;
  const int64_t embedding = info.tied_head ? 0 : info.embedding_bytes;
  plan.mapped = info.file_bytes - info.released_bytes - embedding + std::min(embedding, tokens * kFaultAround);
  plan.repacked = info.repacked_bytes;

  // Both lanes of every probe in turn; a pass holds the multipliers of a layer for each of its lanes.
  const int64_t row = 2 * int64_t{longest_row};
  const int64_t item = row * (method.batch_size / method.micro_batches);
  const int64_t pass = std::max(row, std::min(item, kPassRows));
  const method::Partition partition = info.PartitionFor(method);
  const int64_t copies = method.mode == method::Mode::kAbsolute ? 2 : 1;
  const int64_t lanes = std::clamp<int64_t>(pass / std::max<int64_t>(1, longest_row), 2, 2 * int64_t{method.probes});
  plan.multipliers = partition.multipliers() * kFloat * copies +
                     partition.multipliers() / info.layers * kFloat * lanes + partition.deltas() * kFloat;

  plan.activations = info.ActivationBytes(pass);
  if (method.train_unquantized && info.FindUnquantized(info.head.weight) >= 0) {
    plan.activations += kHeadPanelRows * info.embedding_length * kFloat;
  }
  const int64_t tables = info.local_rope.has_value() ? 2 : 1;
  plan.tables = tables * info.context_length * info.rotary_dim * kFloat + info.vocabulary * kTokenBytes + kProgramBytes;
  return plan;
}

}  // namespace qzo::model
