// models convert: a checkpoint directory as a GGUF file.
#include "client/convert.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "client/cli/exit_code.h"
#include "client/cli/ggml_type.h"
#include "client/cli/json_output.h"
#include "client/cli/verbs.h"
#include "model/formats/model_files.h"

namespace qzo::client {

absl::StatusOr<int> ConvertModel(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const model::ModelFiles files, model::OpenModelFiles(flags.model));
  if (files.checkpoint == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(flags.model, ": a GGUF file already, expected a checkpoint"));
  }
  QZO_ASSIGN_OR_RETURN(const ConvertReport report,
                       ConvertToGguf(session.fs(), *files.checkpoint, *TypeNamed(flags.type), {}, flags.destination));
  QZO_ASSIGN_OR_RETURN(const uint64_t bytes, session.fs()->Size(flags.destination));
  if (WantsJson(session)) {
    PrintJson(session, {{"file", flags.destination},
                        {"bytes", bytes},
                        {"tensors", report.tensors},
                        {"rows", report.rows},
                        {"keptRows", report.kept_rows},
                        {"differingTokens", report.differing_tokens}});
    return kOk;
  }
  session.out() << absl::StrFormat("wrote %s: %d tensors, %s\n", flags.destination, report.tensors,
                                   base::HumanBytes(bytes));
  if (report.kept_rows > 0) {
    session.out() << absl::StrFormat("%d of the %d rows of linear layers have the codes that they had\n",
                                     report.kept_rows, report.rows);
  }
  if (report.differing_tokens > 0) {
    session.Note(absl::StrCat("warning: the texts of ", report.differing_tokens,
                              " tokens become other tokens in GGUF files, which do not normalize texts"));
  }
  return kOk;
}

}  // namespace qzo::client
