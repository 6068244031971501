// A coordinator and workers as real processes on loopback, driven through qzoctl as a user would. One temporary
// directory.
#ifndef QZO_TESTS_INTEGRATION_FLEET_H_
#define QZO_TESTS_INTEGRATION_FLEET_H_

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/processes.h"
#include "tests/support/temp_dir.h"

namespace qzo::testing {

struct CommandResult {
  int code = -1;
  std::string out;
  std::string errors;
};

class Fleet {
 public:
  struct Flags {
    std::string data_dir = {};  // of the server; by default in the fleet's own directory
    // More flags of each program.
    std::vector<std::string> server = {}, worker = {}, ctl = {};
  };

  Fleet() : Fleet([](const TempDir&) { return Flags(); }) {}
  // `flags` may put files into the directory.
  explicit Fleet(const std::function<Flags(const TempDir& directory)>& flags) : port_(FreePort()), flags_(flags(dir_)) {
    StartServer();
  }

  void StartServer() {
    const std::string data_dir = flags_.data_dir.empty() ? dir_.File("server") : flags_.data_dir;
    std::vector<std::string> arguments = {"--listen", address(), "--metrics-address", "", "--data-dir", data_dir};
    arguments.insert(arguments.end(), flags_.server.begin(), flags_.server.end());
    server_ = std::make_unique<Process>(Program("qzo-server"), arguments, dir_.File("server.log"));
    EXPECT_TRUE(Eventually([this] { return Ctl({"get", "jobs"}).code == 0; })) << ReadWhole(dir_.File("server.log"));
  }
  void KillServer(int signal) {
    server_->Signal(signal);
    server_->Wait();
  }
  void StartWorker(const std::string& name, const std::vector<std::string>& more = {},
                   const std::string& program = Program("qzo-worker")) {
    std::vector<std::string> arguments = {"--server",  address(), "--name",      name,
                                          "--threads", "1",       "--cache-dir", dir_.File("cache")};
    arguments.insert(arguments.end(), flags_.worker.begin(), flags_.worker.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    workers_[name] = std::make_unique<Process>(program, arguments, dir_.File(name + ".log"));
  }
  // SIGKILL leaves no time for goodbyes; SIGTERM drains.
  int StopWorker(const std::string& name, int signal) {
    workers_.at(name)->Signal(signal);
    const int code = workers_.at(name)->Wait();
    workers_.erase(name);
    return code;
  }

  CommandResult Ctl(std::vector<std::string> arguments) {
    const std::string out = dir_.File("out." + std::to_string(++commands_)), errors = out + ".err";
    arguments.insert(arguments.begin(), flags_.ctl.begin(), flags_.ctl.end());
    arguments.insert(arguments.begin(), {"--server", address()});
    Process process(Program("qzoctl"), arguments, out, errors);
    CommandResult result{process.Wait(), "", ""};
    result.out = ReadWhole(out);
    result.errors = ReadWhole(errors);
    return result;
  }
  nlohmann::json Job(const std::string& name) {
    const CommandResult result = Ctl({"get", "jobs", name, "-o", "json"});
    EXPECT_EQ(result.code, 0) << result.errors;
    return nlohmann::json::parse(result.out, nullptr, false);
  }
  uint32_t Step(const std::string& name) { return Job(name)["progress"].value("step", 0u); }
  std::string State(const std::string& name) { return Job(name).value("state", ""); }

  // A job on stories260K and tests/golden/data whose steps take long enough to be interrupted.
  std::string TinyJob(const std::string& name, int steps, const std::string& more_method = "") {
    const std::string path = dir_.File(name + ".yaml");
    std::ofstream(path)
        << "base_model: " << TestFile("golden/models/stories260k/stories260K-Q4_1.gguf")
        << "\ndatasets:\n  - {path: " << TestFile("golden/data/tiny_train.jsonl")
        << ", split: train}\n  - {path: " << TestFile("golden/data/tiny_dev.jsonl")
        << ", split: validation}\n  - {path: " << TestFile("golden/data/tiny_test.jsonl")
        << ", split: test}\ntask: {kind: classification, prompt: \"{text}\", options: [He, She]}\nmethod: {steps: "
        << steps << ", batch_size: 8, probes: 4, seed: 7" << more_method
        << "}\nevaluation: {eval_steps: 5}\nname: " << name << "\n";
    return path;
  }

  // What the run leaves: the journal and the adapter, byte for byte.
  struct Result {
    std::string journal;
    std::string adapter;
  };
  Result Download(const std::string& name) {
    const std::string journal = dir_.File(name + ".journal"), adapter = dir_.File(name + ".safetensors");
    const CommandResult j = Ctl({"download", "journal", name, "-f", journal}),
                        a = Ctl({"download", "adapter", name, "-f", adapter});
    EXPECT_EQ(j.code, 0) << j.errors;
    EXPECT_EQ(a.code, 0) << a.errors;
    return {ReadWhole(journal), ReadWhole(adapter)};
  }
  void ExpectSuccess(const std::string& name) {
    const CommandResult result = Ctl({"wait", name, "--for=state=succeeded", "--timeout", "100s"});
    EXPECT_EQ(result.code, 0) << result.errors << Ctl({"logs", name}).out << ReadWhole(dir_.File("server.log"));
  }

  std::string WorkerLog(const std::string& name) { return ReadWhole(dir_.File(name + ".log")); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  TempDir& dir() { return dir_; }

 private:
  TempDir dir_;
  const int port_;
  const Flags flags_;
  int commands_ = 0;
  std::unique_ptr<Process> server_;
  std::map<std::string, std::unique_ptr<Process>> workers_;
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_INTEGRATION_FLEET_H_
