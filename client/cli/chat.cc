// chat: a conversation with a base model or an adapter, written by a worker.
#include <istream>

#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"

namespace qzo::client {
namespace {

v1::GenerateRequest RequestOf(Session& session, const ChatFlags& flags) {
  v1::GenerateRequest request;
  request.set_parent(session.parent());
  if (!flags.adapter.empty()) request.set_adapter(session.Name("adapters", flags.adapter));
  if (!flags.model.empty()) request.set_model(session.Name("models", flags.model));
  v1::SamplingOptions& sampling = *request.mutable_sampling();
  sampling.set_max_tokens(flags.max_tokens);
  sampling.set_temperature(flags.temperature);
  sampling.set_top_k(flags.top_k);
  sampling.set_top_p(flags.top_p);
  sampling.set_seed(flags.seed);
  return request;
}

void AddTurn(const char* role, const std::string& content, v1::Conversation* conversation) {
  v1::ChatMessage* message = conversation->add_messages();
  message->set_role(role);
  message->set_content(content);
}

}  // namespace

absl::StatusOr<int> Chat(Session& session, const ChatFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  v1::GenerateRequest request = RequestOf(session, flags);
  v1::Conversation& conversation = *request.mutable_conversation();
  if (!flags.system.empty()) AddTurn("system", flags.system, &conversation);
  const bool asks = session.env().err_is_terminal && session.env().out_is_terminal && !session.flags().quiet;
  for (std::string line;;) {
    if (asks) *session.env().err << "> " << std::flush;
    if (!std::getline(*session.env().in, line)) break;
    if (line.empty()) continue;
    AddTurn("user", line, &conversation);
    std::string answer;
    QZO_RETURN_IF_ERROR(client->Generate(request, [&](const v1::GenerateResponse& piece) {
      answer += piece.text();
      session.out() << piece.text() << std::flush;
    }));
    session.out() << std::endl;
    AddTurn("assistant", answer, &conversation);
  }
  return kOk;
}

}  // namespace qzo::client
