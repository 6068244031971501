// Working memory of the kernels: per thread and purpose, grown to what any thread has needed for it and never shrunk,
// so that a steady state allocates nothing, whichever thread does what.
#ifndef QZO_KERNELS_SCRATCH_H_
#define QZO_KERNELS_SCRATCH_H_

#include <cstdint>

namespace qzo::kernels {

enum class Scratch : uint8_t { kPanel, kMultipliers, kTotals, kAttention, kRow, kLanes };

// At least `floats` floats, 64-byte aligned, contents undefined; valid until this thread asks for the same purpose
// again.
float* ThreadScratch(Scratch purpose, int64_t floats);

// Grows this thread's to what the others have. What ThreadScratch gave is no longer valid.
void GrowThreadScratch();

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SCRATCH_H_
