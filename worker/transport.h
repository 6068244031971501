// The seams between the worker's logic and the network, so that tests drive the one without the other.
#ifndef QZO_WORKER_TRANSPORT_H_
#define QZO_WORKER_TRANSPORT_H_

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "qzo/v1/worker.pb.h"

namespace qzo::worker {

// The worker's half of one stream. Thread-safe. After the stream broke all methods do nothing.
class Uplink {
 public:
  virtual ~Uplink() = default;
  virtual void Send(const v1::WorkerMessage& message) = 0;
  // Nothing more will be sent: ends this half of the stream after what was sent.
  virtual void Close() = 0;
  // Ends the stream at once, as if the worker had died; what was sent may be lost.
  virtual void Abort() = 0;
};

// Takes the next piece of a blob; an error ends the transfer, which then returns it.
using BlobSink = std::function<absl::Status(std::string_view piece)>;

// Where blobs come from that are not here. Blocks; thread-safe.
class BlobSource {
 public:
  virtual ~BlobSource() = default;
  // NOT_FOUND, UNAVAILABLE, what `sink` returned. The bytes are not verified.
  virtual absl::Status Fetch(const std::string& digest, const BlobSink& sink) = 0;
};

// Where snapshots go. Blocks; thread-safe.
class SnapshotSink {
 public:
  virtual ~SnapshotSink() = default;
  virtual absl::Status Put(const v1::PutSnapshotRequest::Header& header, absl::Span<const float> multipliers) = 0;
};

// A whole blob in memory, its digest checked. INVALID_ARGUMENT for what is no digest, DATA_LOSS for other bytes than it
// names.
absl::StatusOr<std::string> FetchVerified(BlobSource* source, const std::string& digest);

}  // namespace qzo::worker

#endif  // QZO_WORKER_TRANSPORT_H_
