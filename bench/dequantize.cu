#include "bench/dequantize.h"

namespace qzo::bench {

void LaunchDequantize(void* stream, const DequantizeParams& params) {
  const int64_t threads = int64_t{params.w.rows} * params.w.stretches * 8;
  const unsigned blocks = static_cast<unsigned>((threads + kDequantizeThreads - 1) / kDequantizeThreads);
  DequantizeKernel<<<blocks, kDequantizeThreads, 0, static_cast<cudaStream_t>(stream)>>>(params);
}

}  // namespace qzo::bench
