// What a layer of a checkpoint needs beside the mapped files, in a file of its own that the workers of a host map and
// share. Made once: written aside, made durable and renamed, so that a file that is there is whole; it is checked when
// it is opened.
#ifndef QZO_MODEL_GRAPH_PACKED_LAYER_H_
#define QZO_MODEL_GRAPH_PACKED_LAYER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/fs.h"
#include "model/formats/checkpoint_info.h"
#include "model/graph/repack.h"

namespace qzo::model {

// Where such files lie: <directory>/<digest of the checkpoint>.packed-<version of their layout>/<layer>.
class PackedLayers {
 public:
  // `fs` must outlive the object. `before_write`, where it is given, is told the bytes of a layer before they are
  // written.
  PackedLayers(base::FileSystem* fs, const std::string& directory, const std::string& digest,
               std::function<void(uint64_t bytes)> before_write = nullptr);
  base::FileSystem* fs() const { return fs_; }
  const std::string& directory() const { return directory_; }
  std::string PathOf(int layer) const;
  void BeforeWrite(uint64_t bytes) const {
    if (before_write_ != nullptr) before_write_(bytes);
  }

 private:
  base::FileSystem* const fs_;
  const std::string directory_;
  const std::function<void(uint64_t bytes)> before_write_;
};

// Immutable and thread-safe.
class PackedLayer {
 public:
  // The layer's file, which is written first where there is none or one that is damaged. `linears` are those of the
  // layer that RepackedBytes has something for. Possible errors: those of the file system.
  static absl::StatusOr<std::unique_ptr<PackedLayer>> OpenOrWrite(const PackedLayers& files, int layer,
                                                                  absl::Span<const CheckpointLinear* const> linears);

  // Of the linear layer at this place of `linears`; valid as long as the object is.
  const PackedView& view(size_t index) const { return views_.at(index); }
  int64_t bytes() const { return static_cast<int64_t>(file_->bytes().size()); }

 private:
  PackedLayer() = default;
  // DATA_LOSS for anything but what Write writes for the same layers.
  static absl::StatusOr<std::unique_ptr<PackedLayer>> Open(const std::string& path,
                                                           absl::Span<const CheckpointLinear* const> linears);

  std::unique_ptr<base::MappedFile> file_;
  std::vector<PackedView> views_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_PACKED_LAYER_H_
