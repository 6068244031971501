// A model as Hugging Face tools write it: a directory with config.json and safetensors files (docs/formats.md,
// "Checkpoints"). Files are memory-mapped and never copied.
#ifndef QZO_MODEL_FORMATS_CHECKPOINT_H_
#define QZO_MODEL_FORMATS_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/fs.h"
#include "model/formats/safetensors.h"

namespace qzo::model {

// Thread-safe after construction.
class Checkpoint {
 public:
  // Possible errors: those of FileSystem::List and MappedFile::Open; INVALID_ARGUMENT naming what is missing or
  // unsound.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory);
  // The same files by name, wherever they lie. INVALID_ARGUMENT also for a file that is no part of the model.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> OpenFiles(
      std::map<std::string, std::unique_ptr<base::MappedFile>> files, std::string path_for_errors);
  // For tests and fuzzing: the files' bytes by name, which must outlive the object.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> FromFiles(std::map<std::string, std::string_view> files,
                                                               std::string path_for_errors);

  const std::string& path() const { return path_; }
  // Bytes of a file of the directory, "" when there is none.
  std::string_view File(std::string_view name) const;
  // Of the files that make the model, sorted.
  std::vector<std::string> FileNames() const;
  absl::Span<const SafetensorsTensor> tensors() const { return tensors_; }
  // nullptr when absent.
  const SafetensorsTensor* FindTensor(std::string_view name) const;
  int64_t file_bytes() const;
  // Gives the tensor's memory back until it is read again; nothing where its file is not mapped.
  void Release(const SafetensorsTensor& tensor) const;
  // What the model is known by: SHA-256 of the lines that `sha256sum` prints for the files that make the model, sorted
  // by name. Reads all of them.
  std::string Digest() const;

 private:
  Checkpoint() = default;
  absl::Status Read();
  absl::StatusOr<std::vector<std::string>> WeightFiles() const;

  std::string path_;
  std::vector<std::unique_ptr<base::MappedFile>> mappings_;
  std::map<std::string, std::string_view, std::less<>> files_;
  std::vector<SafetensorsTensor> tensors_;
  absl::flat_hash_map<std::string, size_t> tensor_index_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_CHECKPOINT_H_
