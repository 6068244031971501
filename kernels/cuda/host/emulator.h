// Runs a kernel's blocks on the CPU, a fiber per thread, one block after the other. What it is strict about, so that
// kernels that pass are right for every schedule of a GPU:
//   - threads switch only at barriers and warp operations, in a chosen order; a kernel without races gives the same
//     bits in all of them
//   - shared memory begins as NaN, is exactly as large as asked for, and is checked for writes past its end
//   - an asynchronous copy turns its target into NaN at once and arrives only when it is waited for; one that nobody
//     waits for is an error, and so are misaligned ones and targets outside shared memory
//   - barriers and warp operations that not all threads reach are errors
//   - what not every device would launch is an error: grids without blocks, or too many of them, too much shared memory
// What it does not model: races between blocks; the rounding inside a tensor core (its sums are exact here, rounded
// once per product of 16). x86-64 only. Thread-compatible: one launch at a time in a thread.
#ifndef QZO_KERNELS_CUDA_HOST_EMULATOR_H_
#define QZO_KERNELS_CUDA_HOST_EMULATOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace qzo::kernels::cuda::emulator {

struct Grid {
  int x = 1;
  int y = 1;
};

// In which order runnable warps, and threads of a warp, take turns.
enum class Order : uint8_t { kForward, kReverse, kShuffled };

// Possible errors: INTERNAL for what no device would launch, or, naming the block and thread, for what the kernel did
// wrong.
absl::Status Launch(Order order, Grid grid, int threads, size_t shared_bytes, const std::function<void()>& kernel);

// The rest is for host/device.h: called from inside a kernel.
int CurrentThread();
Grid CurrentBlock();
Grid CurrentGrid();
std::byte* Shared();
void Barrier();

enum class WarpOp : uint8_t { kShuffleXor, kLoadMatrices, kLoadMatricesTransposed, kMma };

// Waits for all lanes of the warp to bring their words to the same operation; the lane's share of the result.
const uint32_t* Exchange(WarpOp op, const uint32_t* words, int count);

void LoadMatrices(uint32_t (&r)[4], const void* row, bool transposed);

void CopyAsync(void* shared, const void* global, size_t bytes);
void CopyCommit();
void CopyWait(int pending);

}  // namespace qzo::kernels::cuda::emulator

#endif  // QZO_KERNELS_CUDA_HOST_EMULATOR_H_
