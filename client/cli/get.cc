// Verbs that show resources, and delete.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"
#include "client/report.h"

namespace qzo::client {
namespace {

constexpr absl::Duration kPollInterval = absl::Seconds(2);

// "job" and "jobs" alike.
absl::StatusOr<std::string> Plural(std::string kind) {
  const std::vector<std::string> kinds = {"jobs", "workers", "datasets", "models", "adapters"};
  if (!kind.empty() && kind.back() != 's') kind += 's';
  if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return kind;
  return absl::InvalidArgumentError(
      absl::StrCat("'", kind, "': expected ", absl::StrJoin(kinds, ", "), base::DidYouMean(kind, kinds)));
}

template <typename Resource>
using TableOf = Table (*)(const std::vector<Resource>&, bool, absl::Time);

// `list` is the message that holds `all`, for the formats that print messages; a single resource stands for itself.
template <typename Resource, typename List>
void Print(Session& session, const std::vector<Resource>& all, const List& list, bool single, TableOf<Resource> table) {
  switch (session.flags().output) {
    case OutputFormat::kJson:
    case OutputFormat::kYaml:
      if (single)
        session.PrintMessage(all[0]);
      else
        session.PrintMessage(list);
      return;
    case OutputFormat::kName:
      for (const Resource& resource : all) session.out() << resource.name() << "\n";
      return;
    default:
      if (all.empty()) return session.Note("none found");
      session.out() << table(all, session.flags().output == OutputFormat::kWide, session.now()).Render();
  }
}

template <typename Resource, typename List, typename GetOne, typename GetAll, typename Field>
absl::StatusOr<int> Show(Session& session, const std::string& name, const GetOne& get_one, const GetAll& get_all,
                         const Field& field, TableOf<Resource> table) {
  std::vector<Resource> all;
  if (name.empty()) {
    QZO_ASSIGN_OR_RETURN(all, get_all());
  } else {
    QZO_ASSIGN_OR_RETURN(Resource one, get_one());
    all.push_back(std::move(one));
  }
  List list;
  for (const Resource& resource : all) *field(&list)->Add() = resource;
  Print(session, all, list, !name.empty(), table);
  return kOk;
}

absl::StatusOr<std::map<std::string, std::string>> ParseSelector(const std::vector<std::string>& labels) {
  std::map<std::string, std::string> selector;
  for (const std::string& label : labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos)
      return absl::InvalidArgumentError(absl::StrCat("-l ", label, ": expected key=value"));
    selector[label.substr(0, equals)] = label.substr(equals + 1);
  }
  return selector;
}

bool Matches(const v1::FineTuningJob& job, const std::map<std::string, std::string>& selector) {
  return std::all_of(selector.begin(), selector.end(), [&](const auto& label) {
    const auto found = job.labels().find(label.first);
    return found != job.labels().end() && found->second == label.second;
  });
}

absl::StatusOr<std::vector<v1::FineTuningJob>> SelectedJobs(Session& session, const GetFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<v1::FineTuningJob> jobs;
  if (!flags.name.empty()) {
    QZO_ASSIGN_OR_RETURN(v1::FineTuningJob job, client->GetJob(session.Name("jobs", flags.name)));
    jobs.push_back(std::move(job));
    return jobs;
  }
  QZO_ASSIGN_OR_RETURN(const auto selector, ParseSelector(flags.labels));
  QZO_ASSIGN_OR_RETURN(jobs, client->ListJobs(session.parent()));
  jobs.erase(std::remove_if(jobs.begin(), jobs.end(), [&](const auto& job) { return !Matches(job, selector); }),
             jobs.end());
  return jobs;
}

// Prints every job that is new or has changed, until interrupted.
absl::StatusOr<int> PollJobs(Session& session, const GetFlags& flags) {
  if (session.env().client.interrupt == nullptr) return absl::InternalError("nothing could end the watch");
  std::map<std::string, std::string> seen;  // name → etag and progress
  for (bool first = true; first || session.env().client.interrupt->Sleep(kPollInterval); first = false) {
    QZO_ASSIGN_OR_RETURN(std::vector<v1::FineTuningJob> jobs, SelectedJobs(session, flags));
    const auto unchanged = [&](const v1::FineTuningJob& job) {
      const std::string now = absl::StrCat(job.etag(), " ", job.state(), " ", job.reason(), " ", job.progress().step());
      return std::exchange(seen[job.name()], now) == now;
    };
    jobs.erase(std::remove_if(jobs.begin(), jobs.end(), unchanged), jobs.end());
    if (session.flags().output == OutputFormat::kJson) {
      for (const v1::FineTuningJob& job : jobs) session.out() << ToJson(job, /*one_line=*/true);
    } else if (first || !jobs.empty()) {
      session.out() << JobTable(jobs, session.flags().output == OutputFormat::kWide, session.now()).Render(first);
    }
    session.out() << std::flush;
  }
  return kDetached;
}

}  // namespace

absl::StatusOr<int> Get(Session& session, const GetFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const std::string kind, Plural(flags.kind));
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  const std::string name = flags.name.empty() ? "" : session.Name(kind, flags.name);
  const std::string parent = session.parent();
  if (kind != "jobs" && (flags.watch || !flags.labels.empty())) {
    return absl::InvalidArgumentError("-w and -l are for jobs only");
  }
  if (kind == "jobs") {
    if (flags.watch) return PollJobs(session, flags);
    QZO_ASSIGN_OR_RETURN(const std::vector<v1::FineTuningJob> jobs, SelectedJobs(session, flags));
    v1::ListJobsResponse list;
    for (const v1::FineTuningJob& job : jobs) *list.add_jobs() = job;
    Print(session, jobs, list, !name.empty(), &JobTable);
    return kOk;
  }
  if (kind == "workers") {
    return Show<v1::Worker, v1::ListWorkersResponse>(
        session, name, [&] { return client->GetWorker(name); }, [&] { return client->ListWorkers(); },
        [](auto* list) { return list->mutable_workers(); }, &WorkerTable);
  }
  if (kind == "datasets") {
    return Show<v1::Dataset, v1::ListDatasetsResponse>(
        session, name, [&] { return client->GetDataset(name); }, [&] { return client->ListDatasets(parent); },
        [](auto* list) { return list->mutable_datasets(); }, &DatasetTable);
  }
  if (kind == "models") {
    return Show<v1::Model, v1::ListModelsResponse>(
        session, name, [&] { return client->GetModel(name); }, [&] { return client->ListModels(parent); },
        [](auto* list) { return list->mutable_models(); }, &ModelTable);
  }
  return Show<v1::Adapter, v1::ListAdaptersResponse>(
      session, name, [&] { return client->GetAdapter(name); }, [&] { return client->ListAdapters(parent); },
      [](auto* list) { return list->mutable_adapters(); }, &AdapterTable);
}

absl::StatusOr<int> Describe(Session& session, const GetFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const std::string kind, Plural(flags.kind));
  if (kind != "jobs")
    return absl::InvalidArgumentError(absl::StrCat("describe ", flags.kind, ": only jobs; use get -o yaml"));
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  const std::string name = session.Name("jobs", flags.name);
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob job, client->GetJob(name));
  QZO_ASSIGN_OR_RETURN(const std::vector<v1::Evaluation> evaluations, client->ListEvaluations(name));
  session.out() << DescribeJob(job, evaluations, session.now());
  return kOk;
}

absl::StatusOr<int> Delete(Session& session, const DeleteFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const std::string kind, Plural(flags.kind));
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  for (const std::string& short_name : flags.names) {
    const std::string name = session.Name(kind, short_name);
    if (kind == "workers") return absl::InvalidArgumentError("workers are drained, not deleted: qzoctl drain NAME");
    QZO_RETURN_IF_ERROR(kind == "jobs"       ? client->DeleteJob(name, flags.force)
                        : kind == "datasets" ? client->DeleteDataset(name)
                        : kind == "models"   ? client->DeleteModel(name)
                                             : client->DeleteAdapter(name));
    session.out() << name << " deleted\n";
  }
  return kOk;
}

}  // namespace qzo::client
