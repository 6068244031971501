// Any bytes as calls of a whole server: it answers every one, says why not in the API's own manner, and lets in nobody
// who may not. The first byte picks the method, the second the caller; then come messages, each after its length in two
// bytes (little-endian), the last one perhaps cut off.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fs.h"
#include "base/log.h"
#include "proto/grpc_status.h"
#include "qzo/v1/token.grpc.pb.h"
#include "server/server.h"
#include "tests/support/generic_call.h"
#include "tests/support/temp_dir.h"

namespace {

using ::google::protobuf::Message;
using ::google::protobuf::MessageFactory;
using ::google::protobuf::MethodDescriptor;
using ::qzo::server::Server;
using ::qzo::v1::Token;

// Lives as long as the process.
struct Target {
  Target() {
    QZO_CHECK(qzo::base::InitLogging("off", "text").ok());
    Server::Options options;
    options.listen = "unix:" + directory.File("socket");
    options.data_directory = directory.File("data");
    options.admin_token_file = directory.File("admin");
    options.metrics_address = "";
    options.calls_per_second = 0;
    auto started = Server::Start(options);
    QZO_CHECK(started.ok());
    server = *std::move(started);
    channel = grpc::CreateChannel(server->local_address(), grpc::InsecureChannelCredentials());
    admin = qzo::base::RealFileSystem()->Read(options.admin_token_file).value();
    admin.pop_back();  // the end of the line
    callers = {{"nobody", ""},
               {"submitter", NewToken("projects/p", Token::SUBMITTER)},
               {"worker", NewToken("projects/-", Token::WORKER)},
               {"admin", admin}};
    for (const MethodDescriptor* method : qzo::testing::EveryMethod()) {
      methods[method->service()->name() + "." + method->name()] = method;
    }
  }
  std::string NewToken(const std::string& parent, Token::Role role) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + admin);
    qzo::v1::CreateTokenRequest request;
    request.set_parent(parent);
    request.mutable_token()->set_role(role);
    qzo::v1::CreateTokenResponse response;
    QZO_CHECK(qzo::v1::TokenService::NewStub(channel)->CreateToken(&context, request, &response).ok());
    return response.secret();
  }

  qzo::testing::TempDir directory;
  std::unique_ptr<Server> server;
  std::shared_ptr<grpc::Channel> channel;
  std::string admin;
  std::map<std::string, std::string, std::less<>> callers;  // their secrets
  std::map<std::string, const MethodDescriptor*, std::less<>> methods;
};

std::vector<std::string> Messages(std::string_view bytes) {
  std::vector<std::string> messages;
  while (bytes.size() >= 2 && messages.size() < 8) {
    const size_t size = static_cast<uint8_t>(bytes[0]) + (size_t{static_cast<uint8_t>(bytes[1])} << 8);
    bytes.remove_prefix(2);
    messages.emplace_back(bytes.substr(0, size));
    bytes.remove_prefix(std::min(size, bytes.size()));
  }
  return messages;
}

bool AllParse(const MethodDescriptor& method, const std::vector<std::string>& messages) {
  const std::unique_ptr<Message> message(MessageFactory::generated_factory()->GetPrototype(method.input_type())->New());
  return std::all_of(messages.begin(), messages.end(),
                     [&](const std::string& bytes) { return message->ParseFromString(bytes); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Target& target = *new Target();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t blank = input.find(' '), end = input.find('\n');
  if (end == input.npos || blank > end) return 0;
  const auto named = target.methods.find(input.substr(0, blank));
  const auto known = target.callers.find(input.substr(blank + 1, end - blank - 1));
  if (named == target.methods.end() || known == target.callers.end()) return 0;
  const MethodDescriptor& method = *named->second;
  const std::string& caller = known->second;
  const std::vector<std::string> messages = Messages(input.substr(end + 1));
  const grpc::Status status =
      qzo::testing::CallAny(target.channel, method, messages, caller, std::chrono::milliseconds(2000));
  const bool takes_one = !method.client_streaming();
  // What is no message, or not exactly one, is gRPC's to answer.
  if ((takes_one && messages.size() != 1) || !AllParse(method, messages)) return 0;
  if (caller.empty()) QZO_CHECK(status.error_code() == grpc::StatusCode::UNAUTHENTICATED);
  if (status.ok() || status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return 0;  // a watch goes on
  QZO_CHECK(status.error_code() != grpc::StatusCode::INTERNAL && status.error_code() != grpc::StatusCode::UNKNOWN &&
            status.error_code() != grpc::StatusCode::DATA_LOSS);
  if (status.error_code() != grpc::StatusCode::CANCELLED)
    QZO_CHECK(!qzo::rpc::ReasonOf(qzo::rpc::FromGrpc(status)).empty());
  return 0;
}
