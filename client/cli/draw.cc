// draw: rows of a dataset file, at random, for training, validation and test.
#include "client/draw.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"

namespace qzo::client {

absl::StatusOr<int> Draw(Session& session, const DrawFlags& flags) {
  const std::string extension = std::filesystem::path(flags.file).extension();
  std::vector<std::string> destinations;
  std::vector<uint32_t> pieces;
  for (const auto& [split, rows] :
       {std::pair{"train", flags.train}, {"validation", flags.validation}, {"test", flags.test}}) {
    if (rows == 0) continue;
    pieces.push_back(rows);
    destinations.push_back(absl::StrCat(flags.directory, "/", split, extension));
    if (session.fs()->Exists(destinations.back())) {
      return absl::AlreadyExistsError(absl::StrCat(destinations.back(), " is there already"));
    }
  }
  if (pieces.empty()) return absl::InvalidArgumentError("nothing to draw: give --train, --validation or --test");
  QZO_ASSIGN_OR_RETURN(const std::string file, session.fs()->Read(flags.file));
  absl::StatusOr<std::vector<std::string>> drawn = DrawRows(file, flags.seed, pieces);
  if (!drawn.ok()) return absl::Status(drawn.status().code(), absl::StrCat(flags.file, ": ", drawn.status().message()));
  QZO_RETURN_IF_ERROR(session.fs()->CreateDirectories(flags.directory));
  for (size_t i = 0; i < pieces.size(); ++i) {
    QZO_RETURN_IF_ERROR(session.fs()->WriteDurably(destinations[i], (*drawn)[i]));
    session.out() << destinations[i] << "\n";
  }
  return kOk;
}

}  // namespace qzo::client
