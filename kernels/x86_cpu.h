// What this machine can run, asked by code that runs on every machine.
#ifndef QZO_KERNELS_X86_CPU_H_
#define QZO_KERNELS_X86_CPU_H_

namespace qzo::kernels {

bool CpuHasAvx2();        // with FMA and F16C
bool CpuHasAvxVnni();     // and all of the above
bool CpuHasAvx512();      // F, BW, VL, DQ, and AVX2
bool CpuHasAvx512Vnni();  // and AVX-512
bool CpuHasAmx();         // TILE and INT8, and AVX-512 VNNI; asks Linux for the registers, once for the whole process

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_X86_CPU_H_
