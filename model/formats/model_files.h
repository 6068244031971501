// A model as it lies somewhere: a GGUF file, the parts of a split one, or a checkpoint directory; and what the last two
// are known by.
#ifndef QZO_MODEL_FORMATS_MODEL_FILES_H_
#define QZO_MODEL_FORMATS_MODEL_FILES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/fs.h"
#include "model/formats/checkpoint.h"
#include "model/formats/gguf.h"

namespace qzo::model {

// One of the two.
struct ModelFiles {
  std::unique_ptr<GgufFile> gguf;
  std::unique_ptr<Checkpoint> checkpoint;

  // SHA-256 of the one file, or of the list of the files (base/sha256sums.h). Reads all of them.
  std::string Digest() const { return gguf != nullptr ? gguf->Digest() : checkpoint->Digest(); }
};

// A GGUF file, the first part of a split one, or a directory with the parts or with a checkpoint. Possible errors:
// those of GgufFile::Open and Checkpoint::Open.
absl::StatusOr<ModelFiles> OpenModelFiles(const std::string& path);

// The files of a list by name: parts of a GGUF file, or a checkpoint's. INVALID_ARGUMENT also for a file that is no
// part of the model. Without a copy; nothing that the list does not name is read.
absl::StatusOr<ModelFiles> OpenListedFiles(std::map<std::string, std::unique_ptr<base::MappedFile>> files,
                                           std::string path_for_errors);

struct NamedPath {
  std::string name;
  std::string path;
};
// The files that make the model at `path`, by name: one for a GGUF file in one piece, which is not opened. Possible
// errors: those of OpenModelFiles.
absl::StatusOr<std::vector<NamedPath>> ListModelFiles(const std::string& path);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_MODEL_FILES_H_
