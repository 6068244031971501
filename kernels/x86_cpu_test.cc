#include "kernels/x86_cpu.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace qzo::kernels {
namespace {

// What Linux says of the first processor.
std::set<std::string> Flags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    std::set<std::string> flags;
    for (std::string word; words >> word;) flags.insert(word);
    return flags;
  }
  return {};
}

TEST(X86CpuTest, AgreesWithWhatTheSystemLists) {
  const std::set<std::string> flags = Flags();
  ASSERT_FALSE(flags.empty());
  const auto all = [&flags](const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (!flags.contains(name)) return false;
    }
    return true;
  };
  EXPECT_EQ(CpuHasAvx2(), all({"avx2", "fma", "f16c"}));
  EXPECT_EQ(CpuHasAvxVnni(), CpuHasAvx2() && all({"avx_vnni"}));
  EXPECT_EQ(CpuHasAvx512(), CpuHasAvx2() && all({"avx512f", "avx512bw", "avx512vl", "avx512dq"}));
  EXPECT_EQ(CpuHasAvx512Vnni(), CpuHasAvx512() && all({"avx512_vnni"}));
  // Linux before 5.16, and sandboxes, keep the tiles' registers from a process.
  EXPECT_LE(CpuHasAmx(), CpuHasAvx512Vnni() && all({"amx_tile", "amx_int8"}));
}

TEST(X86CpuTest, FindsNoVariantThatTheMachineLacks) {
  EXPECT_EQ(FindKernels("amx") != nullptr, CpuHasAmx());
  EXPECT_EQ(FindKernels("avx2") != nullptr, CpuHasAvx2());
}

}  // namespace
}  // namespace qzo::kernels
