#include "client/cli/flags.h"

#include <cstdlib>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/completion.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"

namespace qzo::client {
namespace {

// The one that workers use, too.
std::string DefaultCacheDirectory() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0')
    return absl::StrCat(xdg, "/qzo/models");
  const char* home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "/tmp" : home, "/.cache/qzo/models");
}

class AppBuilder {
 public:
  explicit AppBuilder(Flags* flags)
      : flags_(*flags),
        app_(std::make_unique<CLI::App>("qzoctl: submit and steer fine-tuning jobs, use what they made.", "qzoctl")) {}

  std::unique_ptr<CLI::App> Build() {
    app_->require_subcommand(1);
    app_->fallthrough();
    Global();
    Jobs();
    Looking();
    Resources();
    Tokens();
    AuditLog();
    Serving();
    Local();
    Own();
    return std::move(app_);
  }

 private:
  // A verb of the program, or of `noun`.
  template <typename VerbFlags>
  CLI::App* Verb(const char* name, const char* help, absl::StatusOr<int> (*verb)(Session&, const VerbFlags&),
                 const VerbFlags* flags, CLI::App* noun = nullptr) {
    CLI::App* sub = (noun == nullptr ? app_.get() : noun)->add_subcommand(name, help);
    sub->callback([this_flags = &flags_, verb, flags] {
      this_flags->run = [verb, flags](Session& session) { return verb(session, *flags); };
    });
    return sub;
  }

  void Global() {
    GlobalFlags& g = flags_.global;
    g.cache_directory = DefaultCacheDirectory();
    rpc::Endpoint& endpoint = g.endpoint;
    app_->add_option("--server", endpoint.server, "coordinator, host:port")
        ->envname("QZO_SERVER")
        ->capture_default_str();
    app_->add_option("--context", g.context, "of the configuration file, rather than its own")->envname("QZO_CONTEXT");
    app_->add_option("--tls-ca", endpoint.tls.ca, "authorities of the server's certificate; else the system's")
        ->envname("QZO_TLS_CA");
    app_->add_option("--tls-cert", endpoint.tls.cert, "certificate that says who you are")->envname("QZO_TLS_CERT");
    app_->add_option("--tls-key", endpoint.tls.key, "key of that certificate")->envname("QZO_TLS_KEY");
    app_->add_option("--project", g.project, "project of short names")->envname("QZO_PROJECT")->capture_default_str();
    const std::map<std::string, OutputFormat> formats = {{"table", OutputFormat::kTable},
                                                         {"wide", OutputFormat::kWide},
                                                         {"json", OutputFormat::kJson},
                                                         {"yaml", OutputFormat::kYaml},
                                                         {"name", OutputFormat::kName}};
    app_->add_option("-o,--output", g.output, "table, wide, json, yaml or name")
        ->transform(CLI::CheckedTransformer(formats).description(""));
    app_->add_flag("-q,--quiet", g.quiet, "no messages and no progress");
    app_->add_flag("-v,--verbose", g.verbose, "say more about errors");
    app_->add_option("--token-file", endpoint.token_file, "holds the secret of your token")->envname("QZO_TOKEN_FILE");
    app_->add_flag("--insecure", endpoint.insecure, "allow clear text beyond this machine")->envname("QZO_INSECURE");
    app_->add_option("--cache-dir", g.cache_directory, "downloaded models, by digest")->envname("QZO_CACHE_DIR");
    app_->add_option("--threads", g.threads, "of computations on this machine; 0 = all there are")
        ->envname("QZO_THREADS")
        ->check(CLI::Range(0, 1024));
    const std::map<std::string, kernels::Arithmetic> arithmetics = {{"int16", kernels::Arithmetic::kInt16},
                                                                    {"int8", kernels::Arithmetic::kInt8},
                                                                    {"fp32", kernels::Arithmetic::kFp32}};
    app_->add_option("--arithmetic", g.arithmetic, "of matrix products on this machine: int16, int8 or fp32")
        ->envname("QZO_ARITHMETIC")
        ->transform(CLI::CheckedTransformer(arithmetics).description(""));
  }

  void JobFileOptions(CLI::App* verb) {
    verb->add_option("-f,--file", flags_.submit.file, "job file; - reads standard input")->required();
    verb->add_option("--set", flags_.submit.set, "override a key of the file, as method.steps=200; repeatable")
        ->take_all()
        ->expected(1);
  }

  CLI::App* JobVerb(const char* name, const char* help, absl::StatusOr<int> (*verb)(Session&, const JobFlags&)) {
    CLI::App* sub = Verb(name, help, verb, &flags_.job);
    sub->add_option("NAME", flags_.job.name, "of the job")->required();
    return sub;
  }

  void FromSequence(CLI::App* verb) { verb->add_option("--from", flags_.job.from_sequence, "first event to show"); }

  void Jobs() {
    CLI::App* submit = Verb("submit", "submit the job of a file; on a terminal, follow it", &Submit, &flags_.submit);
    JobFileOptions(submit);
    CLI::Option* detach = submit->add_flag("--detach", flags_.submit.detach, "print the name and leave");
    submit->add_flag("--wait", flags_.submit.wait, "stay until the job has ended")->excludes(detach);
    submit->add_flag("--validate-only", flags_.submit.validate_only, "check everything, run nothing");
    submit->add_option("--request-id", flags_.submit.request_id, "makes a repeated submit return the first one's job");
    JobFileOptions(Verb("plan", "what a job would cost: steps, tokens, memory, time, network", &Plan, &flags_.submit));

    FromSequence(JobVerb("watch", "follow a job; ^C detaches", &Watch));
    CLI::App* logs = JobVerb("logs", "the job's events as lines", &Logs);
    FromSequence(logs);
    logs->add_flag("-f,--follow", flags_.job.follow, "go on until the job has ended");
    FromSequence(JobVerb("events", "the job's events as a table", &Events));

    CLI::App* wait = Verb("wait", "wait until a job is in a state", &Wait, &flags_.wait);
    wait->add_option("NAME", flags_.wait.name, "of the job")->required();
    wait->add_option("--for", flags_.wait.condition, "state=succeeded, say")->capture_default_str();
    wait->add_option("--timeout", flags_.wait.timeout_seconds, "as 90s, 10m or 2h; 0 = for ever")
        ->transform(CLI::AsNumberWithUnit(std::map<std::string, double>{{"s", 1}, {"m", 60}, {"h", 3600}}));

    JobVerb("cancel", "end a job for good; its journal stays", &Cancel);
    JobVerb("pause", "stop a job for now", &Pause);
    JobVerb("resume", "continue a paused job", &Resume);
    JobVerb("retry", "continue a failed or cancelled job after its last step", &Retry);
    CLI::App* drain = Verb("drain", "let a worker finish its items and leave", &Drain, &flags_.job);
    drain->add_option("NAME", flags_.job.name, "of the worker")->required();
  }

  void Resources() {
    CLI::App* get = Verb("get", "list or show resources", &Get, &flags_.get);
    get->add_option("KIND", flags_.get.kind, "jobs, workers, datasets, models or adapters")->required();
    get->add_option("NAME", flags_.get.name, "of one of them");
    get->add_flag("-w,--watch", flags_.get.watch, "jobs: print changes as they happen");
    get->add_option("-l,--label", flags_.get.labels, "jobs: only those with this label, key=value; repeatable")
        ->take_all()
        ->expected(1);
    for (const char* kind : {"workers", "models"}) {
      CLI::App* alias = app_->add_subcommand(kind, absl::StrCat("get ", kind));
      alias->add_option("NAME", flags_.get.name, "of one of them");
      alias->callback([flags = &flags_, kind, alias] {
        if (!alias->get_subcommands().empty()) return;  // which has chosen what to run
        flags->get.kind = kind;
        flags->run = [flags](Session& session) { return Get(session, flags->get); };
      });
      if (std::string_view(kind) != "models") continue;
      Verb("inspect", "what a model on this machine holds and would take", &InspectModel, &flags_.local, alias)
          ->add_option("PATH", flags_.local.model, "GGUF file, or directory with config.json and safetensors files")
          ->required();
      CLI::App* convert =
          Verb("convert", "write a checkpoint as a GGUF file, quantized", &ConvertModel, &flags_.local, alias);
      convert->add_option("PATH", flags_.local.model, "directory with config.json and safetensors files")->required();
      convert->add_option("FILE", flags_.local.destination, "where to")->required();
      convert->add_option("--type", flags_.local.type, "of linear layers: q8_0, q4_0, q4_1 or f16")
          ->required()
          ->check(CLI::IsMember({"q8_0", "q4_0", "q4_1", "f16"}));
    }
    CLI::App* describe = Verb("describe", "everything about a job", &Describe, &flags_.get);
    describe->add_option("KIND", flags_.get.kind, "job")->required();
    describe->add_option("NAME", flags_.get.name, "of the job")->required();

    CLI::App* remove = Verb("delete", "delete resources", &Delete, &flags_.remove);
    remove->add_option("KIND", flags_.remove.kind, "job, dataset, model or adapter")->required();
    remove->add_option("NAME", flags_.remove.names, "of what is to go")->required();
    remove->add_flag("--force", flags_.remove.force, "a job that has not ended is cancelled first");

    CLI::App* upload = Verb("upload", "upload a file; prints its name", &Upload, &flags_.transfer);
    upload->add_option("KIND", flags_.transfer.kind, "dataset or model")
        ->required()
        ->check(CLI::IsMember({"dataset", "model"}));
    upload->add_option("PATH", flags_.transfer.what, "of the file")->required();
    upload->add_option("--id", flags_.transfer.id, "name to give it; from its digest otherwise");
    upload->add_option("--display-name", flags_.transfer.display_name, "for people");

    CLI::App* download = Verb("download", "download into a file; prints its path", &Download, &flags_.transfer);
    download->add_option("KIND", flags_.transfer.kind, "adapter, journal or model")
        ->required()
        ->check(CLI::IsMember({"adapter", "journal", "model"}));
    download->add_option("NAME", flags_.transfer.what, "of the adapter, job or model")->required();
    download->add_option("-f,--file", flags_.transfer.file, "where to; from the name otherwise");
    download->add_option("--step", flags_.transfer.step, "adapter of a job: at this step instead of the best one");
  }

  void Looking() {
    CompareFlags& c = flags_.compare;
    app_->add_subcommand("top", "jobs and workers, as they go on; once when nobody watches")
        ->callback([flags = &flags_] { flags->run = Top; });
    CLI::App* plot = Verb("plot", "loss curves of jobs, on the terminal or as a picture", &Plot, &c);
    plot->add_option("NAME", c.names, "of the job")->required();
    plot->add_option("--svg", c.svg, "file to draw them into instead");
    plot->add_option("--png", c.png, "likewise");
    Verb("diff", "settings and results of two jobs, where they differ", &Diff, &c)
        ->add_option("NAME", c.names, "of the job")
        ->required()
        ->expected(2);
  }

  void Serving() {
    ChatFlags& c = flags_.chat;
    CLI::App* chat = Verb("chat", "talk with a model or an adapter; a worker writes the answers", &Chat, &c);
    CLI::Option* adapter = chat->add_option("--adapter", c.adapter, "name of an adapter");
    chat->add_option("--model", c.model, "name of a base model")->excludes(adapter);
    chat->add_option("--system", c.system, "what the model is told first");
    chat->add_option("--max-tokens", c.max_tokens, "of an answer, at most")
        ->capture_default_str()
        ->check(CLI::Range(1, 4096));
    chat->add_option("--temperature", c.temperature, "0 = always the likeliest token")->capture_default_str();
    chat->add_option("--top-k", c.top_k, "sample from the k likeliest; 0 = from all")->capture_default_str();
    chat->add_option("--top-p", c.top_p, "sample from the likeliest with this share together")->capture_default_str();
    chat->add_option("--seed", c.seed, "the same seed gives the same answers")->capture_default_str();
  }

  void Tokens() {
    TokenFlags& t = flags_.token;
    CLI::App* noun = app_->add_subcommand("token", "make, show and revoke what callers are let in with");
    noun->require_subcommand(1);
    noun->fallthrough();
    noun->add_flag("--all-projects", t.all_projects, "of every project rather than of --project");
    CLI::App* create = Verb("create", "make a token; prints its secret", &CreateToken, &t, noun);
    create->add_option("ID", t.names, "of the token; the server makes one otherwise")->expected(1);
    create->add_option("--role", t.role, "viewer, submitter, admin or worker")
        ->capture_default_str()
        ->check(CLI::IsMember({"viewer", "submitter", "admin", "worker"}));
    create->add_option("--ttl", t.ttl_seconds, "how long it is good, as 12h or 90d; 0 = for ever")
        ->transform(CLI::AsNumberWithUnit(std::map<std::string, double>{{"m", 60}, {"h", 3600}, {"d", 86400}}));
    create->add_option("--display-name", t.display_name, "for people");
    create->add_option("-f,--file", t.file, "new file for the secret, which is then not printed");
    Verb("get", "list or show tokens", &GetTokens, &t, noun)
        ->add_option("NAME", t.names, "of one of them")
        ->expected(1);
    Verb("revoke", "let nobody in with a token any more", &RevokeTokens, &t, noun)
        ->add_option("NAME", t.names, "of what is to go")
        ->required();
  }

  void AuditLog() {
    AuditFlags& a = flags_.audit;
    CLI::App* audit = Verb("audit", "who changed what, or tried to: the newest first", &Audit, &a);
    audit->add_flag("--all-projects", a.all_projects, "of every project and of the server");
    audit->add_option("--caller", a.caller, "name of a token, URI of a certificate");
    audit->add_option("--method", a.method, "as CreateJob");
    audit->add_option("--resource", a.resource, "full name: of this, and of what is in it");
    audit->add_option("--code", a.code, "as OK or PERMISSION_DENIED");
    audit->add_option("--since", a.since, "not before, as 12h or 7d ago, or 2026-01-31T12:00:00Z");
    audit->add_option("--until", a.until, "before, likewise");
    audit->add_option("--limit", a.limit, "at most so many")->capture_default_str()->check(CLI::Range(1, 1'000'000));
  }

  CLI::App* LocalVerb(const char* name, const char* help, absl::StatusOr<int> (*verb)(Session&, const LocalFlags&),
                      bool adapter_is_positional) {
    LocalFlags& local = flags_.local;
    CLI::App* sub = Verb(name, help, verb, &local);
    if (adapter_is_positional)
      sub->add_option("ADAPTER", local.adapter, "file, or name of an adapter or job")->required();
    else
      sub->add_option("--adapter", local.adapter, "file, or name of an adapter or job");
    sub->add_option("--model", local.model, "GGUF file, or name of a model; found by the adapter's digest otherwise");
    sub->add_option("--step", local.step, "of a job: the adapter at this step instead of the best one");
    return sub;
  }

  void TaskOption(CLI::App* verb) {
    verb->add_option("-f,--file", flags_.local.job_file, "job file whose task is meant; the adapter's otherwise");
  }

  void Local() {
    LocalFlags& local = flags_.local;
    CLI::App* generate = LocalVerb("generate", "continue a text on this machine", &Generate, false);
    TaskOption(generate);
    CLI::Option* prompt = generate->add_option("--prompt", local.prompt, "the text; standard input otherwise");
    generate->add_option("--text", local.fields, "key=value of a row for the task's template; repeatable")
        ->take_all()
        ->expected(1)
        ->excludes(prompt);
    generate->add_flag("--chat", local.chat, "the text is a user's turn of a conversation");
    generate->add_option("--max-tokens", local.max_tokens, "at most this many")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 20));
    generate->add_option("--temperature", local.temperature, "0 = always the likeliest token")->capture_default_str();
    generate->add_option("--top-k", local.top_k, "sample from the k likeliest; 0 = from all")->capture_default_str();
    generate->add_option("--top-p", local.top_p, "sample from the likeliest with this share together")
        ->capture_default_str();
    generate->add_option("--seed", local.seed, "the same seed gives the same text")->capture_default_str();

    CLI::App* classify = LocalVerb("classify", "label rows on this machine", &Classify, false);
    TaskOption(classify);
    classify->add_option("ROWS", local.dataset, "JSON Lines file; standard input otherwise");
    classify->add_option("--text", local.fields, "key=value of one row; repeatable")->take_all()->expected(1);

    CLI::App* eval = LocalVerb("eval", "figures over a dataset, on this machine", &Evaluate, false);
    TaskOption(eval);
    eval->add_option("DATASET", local.dataset, "JSON Lines file or table")->required();
    CLI::Option* answers = eval->add_flag("--generate", local.generate, "completion: write answers and compare them");
    eval->add_option("--max-tokens", local.answer_tokens, "of an answer, at most")
        ->capture_default_str()
        ->check(CLI::Range(1, 4096))
        ->needs(answers);
    eval->add_option("--answers", local.answers, "JSON Lines file for the answers and their scores")->needs(answers);

    DrawFlags& d = flags_.draw;
    CLI::App* draw = Verb("draw", "draw rows of a dataset file at random, as the papers' code does", &Draw, &d);
    draw->add_option("FILE", d.file, "JSON Lines file or table")->required();
    draw->add_option("DIRECTORY", d.directory, "for train, validation and test files")->required();
    draw->add_option("--train", d.train, "so many rows for training");
    draw->add_option("--validation", d.validation, "the next so many for validation");
    draw->add_option("--test", d.test, "the next so many for testing");
    draw->add_option("--seed", d.seed, "the same seed draws the same rows")->capture_default_str();

    const auto type = [&local](CLI::App* verb) {
      return verb
          ->add_option(
              "--type", local.type,
              "f16, q8_0, q4_0 or q4_1: of a GGUF file what cannot hold the multipliers, a checkpoint as a GGUF "
              "file with linear layers of this type")
          ->check(CLI::IsMember({"f16", "q8_0", "q4_0", "q4_1"}));
    };
    CLI::App* verify = LocalVerb("verify", "replay how an adapter was made, and compare", &Verify, true);
    CLI::Option* exported =
        verify->add_option("--exported", local.exported, "file or directory that export has written: compare it, too");
    type(verify)->needs(exported);
    CLI::App* exports = LocalVerb("export", "write model and adapter as an ordinary model", &Export, true);
    exports->add_option("FILE", local.destination, "where to: a file, or for a checkpoint a directory")->required();
    CLI::Option* dataset =
        exports->add_option("--dataset", local.dataset, "measure the loss before and after rounding on this dataset");
    CLI::Option* alone =
        exports->add_flag("--multipliers", local.multipliers, "write the multipliers alone, as safetensors");
    alone->excludes(dataset)->excludes(type(exports));
  }

  void Own() {
    CLI::App* completion = app_->add_subcommand("completion", "a completion script: source <(qzoctl completion bash)");
    completion->add_option("SHELL", flags_.shell, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}));
    completion->callback([flags = &flags_, app = app_.get()] {
      flags->run = [flags, app](Session& session) -> absl::StatusOr<int> {
        session.out() << CompletionScript(*app, flags->shell);
        return kOk;
      };
    });
    app_->add_subcommand("version", "the version of qzoctl")->callback([flags = &flags_] { flags->run = Version; });
  }

  Flags& flags_;
  std::unique_ptr<CLI::App> app_;
};

}  // namespace

std::unique_ptr<CLI::App> MakeApp(Flags* flags) { return AppBuilder(flags).Build(); }

}  // namespace qzo::client
