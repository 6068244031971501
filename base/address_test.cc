#include "base/address.h"

#include <gtest/gtest.h>

namespace qzo::base {
namespace {

TEST(Address, LoopbackIsWhatOnlyThisMachineReaches) {
  for (const char* address : {"127.0.0.1:7070", "127.1.2.3:1", "localhost:7070", "[::1]:7070", "unix:/run/qzo"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address :
       {"0.0.0.0:7070", "10.0.0.1:7070", "[::]:7070", "127.0.0.1.example.com:7070", "localhost.example.com:1", ""}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

}  // namespace
}  // namespace qzo::base
