// The pages: from the API's own messages to HTML. Pure.
#ifndef QZO_SERVER_PAGE_VIEWS_H_
#define QZO_SERVER_PAGE_VIEWS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "qzo/v1/job.pb.h"
#include "qzo/v1/worker.pb.h"
#include "server/page/curve.h"
#include "server/page/html.h"

namespace qzo::server {

struct JobsData {
  std::vector<v1::FineTuningJob> jobs;
  std::map<std::string, Curves> curves;  // of some of them, by name
  std::string next_page_token;
};

struct JobData {
  v1::FineTuningJob job;
  Curves curves;
  std::vector<v1::Evaluation> evaluations;
  std::vector<v1::JobEvent> events;  // the last ones, oldest first
  std::vector<v1::Worker> workers;   // that hold a replica
};

Html JobsBody(const JobsData& view, absl::Time now);
Html JobBody(const JobData& view, absl::Time now);
Html WorkersBody(const std::vector<v1::Worker>& workers, absl::Time now);
// A form for a token. `reason` says why it is asked for.
Html SignInBody(const std::string& reason);
Html ErrorBody(const absl::Status& status);

// A whole document. `signed_in`: there is something to sign out of.
std::string Page(const std::string& title, const Html& body, bool signed_in);

// Served as they are.
extern const char kStyleSheet[];
extern const char kRefreshScript[];

}  // namespace qzo::server

#endif  // QZO_SERVER_PAGE_VIEWS_H_
