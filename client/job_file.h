// Job files: what `qzoctl submit -f` reads. Strict: every unknown or repeated key, wrong type and bad value is an error
// with its place, and all are reported at once. Pure.
//
//   base_model: smollm2-135m            # a model of the project, or a path relative to this file: a GGUF file, or a
//   directory datasets:
//     - {path: train.jsonl, split: train}   # or name: a dataset of the project; split is train, validation or test
//   task: {kind: classification, prompt: "{text}\nSpam:", options: [" no", " yes"]}
//   method: {steps: 200, learning_rate: 0.02}
//   evaluation: {eval_steps: 20}
//   placement: {min_workers: 2}
//   name: my-job                        # optional, as are display_name and labels
//
// The keys of task, method, evaluation and placement are the fields of the API's messages, enum values in lower case.
#ifndef QZO_CLIENT_JOB_FILE_H_
#define QZO_CLIENT_JOB_FILE_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "qzo/v1/job.pb.h"
#include "qzo/v1/worker.pb.h"

namespace qzo::client {

struct JobFile {
  v1::FineTuningJob job;  // resource names are filled in where the file gives names
  std::string job_id;     // `name`; may be empty
  // Local files to upload first, relative ones resolved against the job file's directory.
  std::string model_path;  // empty when base_model is a name
  std::map<v1::Split, std::string> dataset_paths;
};

// Parses `text`. `path` is the file it came from ("-" for standard input, relative to the working directory), `project`
// completes short names, and `overrides` are "a.b=c" assignments, whose values are YAML, applied before anything is
// checked. INVALID_ARGUMENT with one "path:line:column: key: found, expected" line per error.
absl::StatusOr<JobFile> ParseJobFile(std::string_view text, const std::string& path, const std::string& project,
                                     const std::vector<std::string>& overrides);

}  // namespace qzo::client

#endif  // QZO_CLIENT_JOB_FILE_H_
