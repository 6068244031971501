#include "base/digest.h"

#include <gtest/gtest.h>

namespace qzo::base {
namespace {

TEST(Digest, Sha256OfTheStandardsExamples) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, StreamEqualsWhole) {
  Sha256Stream stream;
  stream.Update("a");
  stream.Update("");
  stream.Update("bc");
  EXPECT_EQ(stream.FinishHex(), Sha256Hex("abc"));
}

TEST(Digest, HexIsRecognised) {
  EXPECT_TRUE(IsSha256Hex(Sha256Hex("x")));
  EXPECT_FALSE(IsSha256Hex("abc"));
  EXPECT_FALSE(IsSha256Hex(std::string(63, 'a') + "/"));
  EXPECT_FALSE(IsSha256Hex(std::string(64, 'A')));
}

TEST(Digest, Xxh3PrefixesTheIdLittleEndian) {
  EXPECT_EQ(Xxh3WithId(0x04030201u, "abc"), Xxh3("\x01\x02\x03\x04"
                                                 "abc"));
  EXPECT_NE(Xxh3WithId(1, "abc"), Xxh3WithId(2, "abc"));
}

}  // namespace
}  // namespace qzo::base
