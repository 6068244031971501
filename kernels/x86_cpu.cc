#include "kernels/x86_cpu.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace qzo::kernels {
namespace {

// clang 14's __builtin_cpu_supports does not know f16c.
bool CpuHasF16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// Nor does it know avxvnni: leaf 7, subleaf 1, EAX bit 4.
bool CpuHasVexVnni() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & 1u << 4) != 0;
}

// Leaf 7, EDX bits 24 and 25.
bool CpuHasTiles() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 24 & 3) == 3;
}

// Whether the system saves the tiles' configuration and data, bits 17 and 18 of XCR0, and lets this process use them.
// Threads that exist already get the permission too.
bool SystemAllowsTiles() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kOsXsave = 1u << 27;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsXsave) == 0) return false;
  unsigned low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr long kArchReqXcompPerm = 0x1023, kXTileData = 18;  // Linux 5.16
  return (low >> 17 & 3) == 3 && syscall(SYS_arch_prctl, kArchReqXcompPerm, kXTileData) == 0;
}

}  // namespace

bool CpuHasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && CpuHasF16c(); }

bool CpuHasAvxVnni() { return CpuHasAvx2() && CpuHasVexVnni(); }

bool CpuHasAvx512() {
  return CpuHasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool CpuHasAvx512Vnni() { return CpuHasAvx512() && __builtin_cpu_supports("avx512vnni"); }

bool CpuHasAmx() { return CpuHasAvx512Vnni() && CpuHasTiles() && SystemAllowsTiles(); }

}  // namespace qzo::kernels
