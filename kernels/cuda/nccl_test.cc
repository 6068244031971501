// What of NCCL runs without a device: the library, ids, and how it says that there is none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/communicator.h"
#include "kernels/cuda/nccl_library.h"
#include "tests/support/status_matchers.h"

namespace qzo::kernels::cuda {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

absl::Status Never() { return absl::OkStatus(); }

class NcclTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Communicators>> nccl = OpenNccl();
    if (!nccl.ok()) {
      // The one reason that is not the program's own.
      ASSERT_THAT(nccl.status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no NCCL: libnccl.so.2: cannot")));
      GTEST_SKIP() << nccl.status().message();
    }
    nccl_ = *std::move(nccl);
  }
  std::unique_ptr<Communicators> nccl_;
};

TEST_F(NcclTest, TheLibraryIsOfAVersionThatDoesNotBlock) { EXPECT_GE(nccl_->version(), 21400); }

TEST_F(NcclTest, EveryIdIsAnother) {
  ASSERT_OK_AND_ASSIGN(const std::string one, nccl_->NewId());
  ASSERT_OK_AND_ASSIGN(const std::string other, nccl_->NewId());
  EXPECT_EQ(one.size(), size_t{NCCL_UNIQUE_ID_BYTES});
  EXPECT_EQ(other.size(), one.size());
  EXPECT_NE(one, other);
}

TEST_F(NcclTest, WhatIsNoIdIsRefused) {
  EXPECT_THAT(nccl_->Join("short", 1, Never).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a unique id of 5 bytes, expected 128")));
}

TEST_F(NcclTest, WithoutADeviceNobodyJoins) {
  if (OpenGpu().ok()) GTEST_SKIP() << "there is a device";
  ASSERT_OK_AND_ASSIGN(const std::string id, nccl_->NewId());
  EXPECT_THAT(nccl_->Join(id, 0, Never).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("NCCL: communicator: ")));
}

TEST_F(NcclTest, ItsErrorsAreTheOthersOrOurs) {
  ASSERT_OK_AND_ASSIGN(const NcclLibrary* const library, NcclLibrary::Load());
  EXPECT_OK(library->ToStatus("send", ncclSuccess));
  EXPECT_OK(library->ToStatus("send", ncclInProgress));
  EXPECT_THAT(library->ToStatus("send", ncclRemoteError),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("NCCL: send: remote process exited")));
  EXPECT_THAT(library->ToStatus("send", ncclSystemError),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("system")));
  EXPECT_THAT(library->ToStatus("send", ncclInvalidUsage), StatusIs(absl::StatusCode::kInternal, HasSubstr("usage")));
}

}  // namespace
}  // namespace qzo::kernels::cuda
