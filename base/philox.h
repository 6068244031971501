// Philox4x32-10: the counter-based generator behind noise, batch order and evaluation subsets.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Integer operations only,
// so every compiler, instruction set and device gives the same words. Pure and thread-safe. Usable in CUDA device code.
#ifndef QZO_BASE_PHILOX_H_
#define QZO_BASE_PHILOX_H_

#include <cstdint>

#if defined(__CUDACC__)
#define QZO_HOST_DEVICE __host__ __device__
#else
#define QZO_HOST_DEVICE
#endif

namespace qzo::base {

struct PhiloxWords {
  uint32_t w[4];
};

// `key` is a 64-bit seed (low word first); `counter` is four words.
QZO_HOST_DEVICE constexpr PhiloxWords Philox4x32(uint64_t key, PhiloxWords counter) {
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  uint32_t c0 = counter.w[0], c1 = counter.w[1], c2 = counter.w[2], c3 = counter.w[3];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace qzo::base

#endif  // QZO_BASE_PHILOX_H_
