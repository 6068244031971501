// Any method of the API, called with bytes.
#ifndef QZO_TESTS_SUPPORT_GENERIC_CALL_H_
#define QZO_TESTS_SUPPORT_GENERIC_CALL_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor_database.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace qzo::testing {

// Of every service of the API that is linked, always in the same order.
inline std::vector<const google::protobuf::MethodDescriptor*> EveryMethod() {
  using google::protobuf::DescriptorPool;
  std::vector<std::string> files;
  DescriptorPool::internal_generated_database()->FindAllFileNames(&files);
  std::sort(files.begin(), files.end());
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  for (const std::string& name : files) {
    if (!name.starts_with("qzo/v1/")) continue;
    const auto* file = DescriptorPool::generated_pool()->FindFileByName(name);
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) methods.push_back(file->service(s)->method(m));
    }
  }
  return methods;
}

// Sends the messages, ends the sending, reads what comes, and returns how the call ended. `secret` may be "".
inline grpc::Status CallAny(const std::shared_ptr<grpc::Channel>& channel,
                            const google::protobuf::MethodDescriptor& method, const std::vector<std::string>& messages,
                            const std::string& secret, std::chrono::milliseconds timeout) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  if (!secret.empty()) context.AddMetadata("authorization", "Bearer " + secret);
  grpc::CompletionQueue queue;
  const auto await = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(&context, "/" + method.service()->full_name() + "/" + method.name(), &queue);
  call->StartCall(nullptr);
  bool going = await();
  for (const std::string& message : messages) {
    if (!going) break;
    const grpc::Slice slice(message);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    going = await();
  }
  if (going) {
    call->WritesDone(nullptr);
    await();
  }
  grpc::ByteBuffer answer;
  do {
    call->Read(&answer, nullptr);
  } while (await());
  grpc::Status status;
  call->Finish(&status, nullptr);
  await();
  return status;
}

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_GENERIC_CALL_H_
