// How a unary call is answered: authorized, parsed and handled on a queue's thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>

#include "base/log.h"
#include "serve/grpc/call_context.h"
#include "serve/grpc/wire.h"

namespace tandem {

// Answers a unary call on `queue`: authorize, parse, handler(Request&, caller) -> absl::StatusOr<Response>, reply. One
// reply for each call.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* RunUnaryAs(const CallContext& shared, WorkQueue& queue, grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out, Handler handler) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<std::string> caller = shared.Authorize(*context);
  queue.Post([reactor, in, out, caller = std::move(caller), handler = std::move(handler)] {
    Request request;
    absl::Status status = caller.status();
    if (status.ok()) status = ParseMessage(*in, request);
    if (status.ok()) {
      const auto response = handler(request, *caller);
      if (response.ok()) *out = ToBytes(*response);
      status = response.status();
    }
    if (!status.ok()) LOG_DEBUG("{}: {}", request.GetTypeName(), status.ToString());
    reactor->Finish(ToGrpc(status));
  });
  return reactor;
}

// For calls that do not care who calls: handler(Request&).
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* RunUnary(const CallContext& shared, WorkQueue& queue, grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* in, grpc::ByteBuffer* out, Handler handler) {
  return RunUnaryAs<Request>(
      shared, queue, context, in, out,
      [handler = std::move(handler)](Request& request, const std::string&) { return handler(request); });
}

}  // namespace tandem
