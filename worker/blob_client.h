// Blobs and snapshots over gRPC.
#ifndef QZO_WORKER_BLOB_CLIENT_H_
#define QZO_WORKER_BLOB_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <set>
#include <string>

#include "base/mutex.h"
#include "qzo/v1/worker.grpc.pb.h"
#include "worker/transport.h"

namespace qzo::worker {

// Thread-safe.
class BlobClient final : public BlobSource, public SnapshotSink {
 public:
  explicit BlobClient(const std::shared_ptr<grpc::Channel>& channel) : stub_(v1::Coordination::NewStub(channel)) {}

  absl::Status Fetch(const std::string& digest, const BlobSink& sink) override;
  absl::Status Put(const v1::PutSnapshotRequest::Header& header, absl::Span<const float> multipliers) override;

  // Ends the transfers in progress with CANCELLED.
  void CancelAll();

 private:
  class Transfer;

  const std::unique_ptr<v1::Coordination::StubInterface> stub_;
  base::Mutex mu_;
  std::set<grpc::ClientContext*> active_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_BLOB_CLIENT_H_
