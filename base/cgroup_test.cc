#include "base/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace qzo::base {
namespace {

using ::testing::Eq;
using ::testing::Optional;

class CgroupTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_.File(path)).parent_path());
    std::ofstream(root_.File(path)) << text;
  }
  CgroupLimits Read(const std::string& groups) { return ReadCgroupLimits(groups, root_.path()); }

  qzo::testing::TempDir root_;
};

TEST_F(CgroupTest, TakesTheTightestLimitOfAGroupAndThoseAroundIt) {
  Write("a/b/c/cpu.max", "300000 100000\n");
  Write("a/b/cpu.max", "150000 100000\n");
  Write("a/cpu.max", "max 100000\n");
  Write("a/b/c/memory.max", "max\n");
  Write("a/memory.max", "1000000\n");
  Write("memory.max", "2000000\n");
  const CgroupLimits limits = Read("0::/a/b/c\n");
  EXPECT_THAT(limits.processors, Optional(1.5));
  EXPECT_THAT(limits.memory_bytes, Optional(1000000));
}

TEST_F(CgroupTest, OfAContainerThatSeesOnlyItsOwnGroupTakesThat) {
  Write("cpu.max", "200000 100000\n");
  EXPECT_THAT(Read("0::/\n").processors, Optional(2.0));
  EXPECT_THAT(Read("0::/kubepods/pod1/container2\n").processors, Optional(2.0));
  EXPECT_THAT(Read("0::/../../elsewhere\n").processors, Optional(2.0));
}

TEST_F(CgroupTest, ReadsVersion1WhereItHoldsTheController) {
  Write("cpu/box/cpu.cfs_quota_us", "50000\n");
  Write("cpu/box/cpu.cfs_period_us", "100000\n");
  Write("memory/box/memory.limit_in_bytes", "4096\n");
  Write("box/cpu.max", "100000 100000\n");
  const std::string groups = "4:memory:/box\n2:cpu,cpuacct:/box\n0::/box\n";
  EXPECT_THAT(Read(groups).processors, Optional(0.5));
  EXPECT_THAT(Read(groups).memory_bytes, Optional(4096));
  EXPECT_THAT(Read("4:memory:/box\n0::/box\n").processors, Optional(1.0)) << "cpu is version 2's";
}

TEST_F(CgroupTest, FindsNoLimitWhereThereIsNone) {
  Write("cpu.max", "max 100000\n");
  Write("cpu/cpu.cfs_quota_us", "-1\n");
  Write("cpu/cpu.cfs_period_us", "100000\n");
  for (const std::string groups : {"0::/\n", "1:cpu:/\n", "1:cpu:/gone\n", "", "nonsense", "0::", "1:cpu:relative\n"}) {
    EXPECT_THAT(Read(groups).processors, Eq(std::nullopt)) << groups;
    EXPECT_THAT(Read(groups).memory_bytes, Eq(std::nullopt)) << groups;
  }
}

TEST_F(CgroupTest, PassesOverWhatIsNoLimit) {
  for (const std::string text : {"", "100000", "x y", "0 100000", "100000 0", "-5 100000", "nan nan"}) {
    Write("a/cpu.max", text);
    EXPECT_THAT(Read("0::/a\n").processors, Eq(std::nullopt)) << text;
  }
}

TEST(CgroupOfThisProcessTest, IsReadable) {
  const CgroupLimits limits = ReadCgroupLimits();
  EXPECT_TRUE(!limits.processors || *limits.processors > 0);
  EXPECT_TRUE(!limits.memory_bytes || *limits.memory_bytes > 0);
}

}  // namespace
}  // namespace qzo::base
