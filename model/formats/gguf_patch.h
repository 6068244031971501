// Writes a GGUF file that differs from another only in some tensors: how a trained model leaves the service.
#ifndef QZO_MODEL_FORMATS_GGUF_PATCH_H_
#define QZO_MODEL_FORMATS_GGUF_PATCH_H_

#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fs.h"
#include "model/formats/gguf.h"

namespace qzo::model {

// Makes the new bytes of a tensor: as many as it has, or as the type that it gets asks for. Called once, when the file
// is written up to the tensor, so that only one replacement is in memory at a time.
using TensorReplacement = std::function<absl::StatusOr<std::string>(const GgufTensor& tensor)>;

// Streams a copy of `file` to `destination`, with the tensors named in `replacements` replaced, and stored as the type
// that `types` has for them where it has one; what is there already is replaced when everything is durable, and stays
// as it was on any error. Possible errors: INVALID_ARGUMENT (no such tensor, another size, rows that are no whole
// blocks of the new type), those of a replacement, those of the file system.
absl::Status WriteGgufWithReplacedTensors(base::FileSystem* fs, const GgufFile& file,
                                          const std::map<std::string, TensorReplacement>& replacements,
                                          const std::map<std::string, GgmlType>& types, const std::string& destination);

}  // namespace qzo::model

#endif  // QZO_MODEL_FORMATS_GGUF_PATCH_H_
