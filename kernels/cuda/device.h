// gpu.h for nvcc: every operation is one instruction of compute capability 8.0, or the compiler's own.
#ifndef QZO_KERNELS_CUDA_DEVICE_H_
#define QZO_KERNELS_CUDA_DEVICE_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#define QZO_KERNEL(threads, blocks_per_multiprocessor) \
  __global__ void __launch_bounds__(threads, blocks_per_multiprocessor)
#define QZO_DEVICE __device__ __forceinline__
#define QZO_UNROLL _Pragma("unroll")
#define QZO_NO_UNROLL _Pragma("unroll 1")

namespace qzo::kernels::cuda {

QZO_DEVICE int ThreadIndex() { return static_cast<int>(threadIdx.x); }
QZO_DEVICE int BlockIndexX() { return static_cast<int>(blockIdx.x); }
QZO_DEVICE int BlockIndexY() { return static_cast<int>(blockIdx.y); }
QZO_DEVICE int GridSizeX() { return static_cast<int>(gridDim.x); }
QZO_DEVICE void SyncThreads() { __syncthreads(); }

QZO_DEVICE std::byte* SharedMemory() {
  extern __shared__ __align__(128) unsigned char qzo_shared_memory[];
  return reinterpret_cast<std::byte*>(qzo_shared_memory);
}

QZO_DEVICE float ShuffleXor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

QZO_DEVICE float FloatFromBits(uint32_t bits) { return __uint_as_float(bits); }

QZO_DEVICE float HalfBitsToFloat(uint32_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<uint16_t>(bits)));
  return value;
}

QZO_DEVICE uint32_t RoundToBf16(float value) {
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

// a · b + c in each half, rounded once.
QZO_DEVICE uint32_t Bf16Fma2(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// Bytes of the pair (a, b), a's first, chosen by the four low nibbles of `selector`.
QZO_DEVICE uint32_t PickBytes(uint32_t a, uint32_t b, uint32_t selector) { return __byte_perm(a, b, selector); }

// Copies 16 aligned bytes from global to shared memory; they are there after CopyAsyncWait, for other threads after a
// barrier too.
QZO_DEVICE void CopyAsync16(void* shared, const void* global) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}
QZO_DEVICE void CopyAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all but the kPending groups that were committed last have arrived.
template <int kPending>
QZO_DEVICE void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8×8 matrices of 16-bit elements: lane i gives the address of row i % 8 of matrix i / 8, 16 aligned bytes, and
// gets of each matrix elements 2 · (lane % 4) and the next of row lane / 4.
QZO_DEVICE void LoadMatrices(uint32_t (&r)[4], const void* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// The same of the matrices' transposes: rows 2 · (lane % 4) and the next of column lane / 4.
QZO_DEVICE void LoadMatricesTransposed(uint32_t (&r)[4], const void* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// D[16, 8] = A[16, 16] · B[16, 8] + D on the tensor cores, fp32 sums. With g = lane / 4 and t = lane % 4 a lane holds
// (PTX ISA, mma.m16n8k16):  a[0] A[g][2t, 2t+1]  a[1] A[g+8][2t, …]  a[2] A[g][2t+8, …]  a[3] A[g+8][2t+8, …]
//   b0 B[2t, 2t+1][g]  b1 B[2t+8, 2t+9][g]   d[0], d[1] D[g][2t, 2t+1]   d[2], d[3] D[g+8][2t, 2t+1]
QZO_DEVICE void MmaBf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_DEVICE_H_
