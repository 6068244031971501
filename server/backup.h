// A copy of a data directory, made while its server runs or does not.
#ifndef QZO_SERVER_BACKUP_H_
#define QZO_SERVER_BACKUP_H_

#include <string>

#include "absl/status/status.h"
#include "base/fs.h"

namespace qzo::server {

// Makes `target` a data directory that holds what `data_directory` held at one moment during the call: qzo.db, which
// appears last, and the blobs that it names. Blobs become hard links where both are on one file system. Resources that
// are deleted during the call may lack their blobs in the copy.
// Possible errors: NOT_FOUND without a database, ALREADY_EXISTS when there is one in `target`; those of the disk.
absl::Status BackUp(const std::string& data_directory, const std::string& target, base::FileSystem* fs);

}  // namespace qzo::server

#endif  // QZO_SERVER_BACKUP_H_
