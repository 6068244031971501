#include "server/backup.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/blob_store.h"
#include "server/sqlite_connection.h"

namespace qzo::server {

absl::Status BackUp(const std::string& data_directory, const std::string& target, base::FileSystem* fs) {
  const std::string source = absl::StrCat(data_directory, "/qzo.db");
  const std::string copy = absl::StrCat(target, "/qzo.db");
  const std::string unfinished = absl::StrCat(copy, ".unfinished");
  if (!fs->Exists(source)) return absl::NotFoundError(absl::StrCat(source, ": there is no database to back up"));
  if (fs->Exists(copy)) return absl::AlreadyExistsError(absl::StrCat(copy, " exists; back up to a new directory"));
  QZO_RETURN_IF_ERROR(fs->CreateDirectories(target));
  QZO_RETURN_IF_ERROR(fs->Remove(unfinished));
  {
    QZO_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteConnection> db, SqliteConnection::Open(source, ""));
    QZO_RETURN_IF_ERROR(db->Run("VACUUM INTO ?1", unfinished));
  }
  // After the database: a blob that it names is there already, whatever is uploaded meanwhile.
  const std::unique_ptr<BlobStore> from = BlobStore::OpenForReading(absl::StrCat(data_directory, "/blobs"), fs);
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<BlobStore> to, BlobStore::Open(absl::StrCat(target, "/blobs"), fs));
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string> digests, from->List());
  for (const std::string& digest : digests) {
    QZO_ASSIGN_OR_RETURN(const std::string path, from->Path(digest));
    absl::Status imported = to->ImportFile(path, digest).status();
    if (!imported.ok() && !absl::IsNotFound(imported)) return imported;
  }
  QZO_RETURN_IF_ERROR(fs->Link(unfinished, copy));  // durable, which SQLite does not make it
  return fs->Remove(unfinished);
}

}  // namespace qzo::server
