// A communicator on one device: NCCL takes no two ranks there, so that the one sends to itself.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "absl/time/clock.h"
#include "kernels/cuda/communicator.h"
#include "kernels/cuda/nccl_library.h"
#include "kernels/cuda/test_gpu.h"
#include "tests/support/status_matchers.h"

namespace qzo::kernels::cuda {
namespace {

using ::qzo::testing::StatusIs;

class NcclDeviceTest : public OnTestGpu<> {};

ncclUniqueId NewId() {
  const std::string id = (*OpenNccl())->NewId().value();
  ncclUniqueId unique_id;
  std::memcpy(unique_id.internal, id.data(), sizeof(unique_id.internal));
  return unique_id;
}

absl::Status Never() { return absl::OkStatus(); }

TEST_F(NcclDeviceTest, WhatIsSentIsReceived) {
  ASSERT_OK_AND_ASSIGN(const NcclLibrary* const nccl, NcclLibrary::Load());
  ASSERT_OK_AND_ASSIGN(const ncclComm_t comm, nccl->Init(NewId(), 1, 0, Never));
  std::vector<float> values(512 * 64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  OnDevice<float> from(*gpu_, values), to(*gpu_, values.size());
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  const size_t bytes = values.size() * sizeof(float);
  ASSERT_OK(nccl->ToStatus("group", nccl->group_start()));
  ASSERT_OK(nccl->ToStatus("send", nccl->send(from.get(), bytes, ncclUint8, 0, comm, stream)));
  ASSERT_OK(nccl->ToStatus("receive", nccl->recv(to.get(), bytes, ncclUint8, 0, comm, stream)));
  ASSERT_OK(nccl->ToStatus("group", nccl->group_end()));
  ASSERT_OK(nccl->Settle("group", comm, Never));
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(to.Read(), values);
  nccl->comm_abort(comm);
  cudaStreamDestroy(stream);
}

TEST_F(NcclDeviceTest, WhoeverWaitsForNobodyCanBeInterrupted) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Communicators> nccl, OpenNccl());
  ASSERT_OK_AND_ASSIGN(const std::string id, nccl->NewId());
  const absl::Time end = absl::Now() + absl::Seconds(1);
  const auto until = [end] { return absl::Now() < end ? absl::OkStatus() : absl::CancelledError("enough"); };
  EXPECT_THAT(nccl->Join(id, 0, until).status(), StatusIs(absl::StatusCode::kCancelled, "enough"));
}

}  // namespace
}  // namespace qzo::kernels::cuda
