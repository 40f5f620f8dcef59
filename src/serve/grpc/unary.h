// How a unary call is answered: authorized, parsed and handled on a queue's thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "serve/grpc/call_context.h"
#include "serve/grpc/wire.h"

namespace tandem {

// What a handler gets beside the request. `reply` may be called later and from any thread, once.
template <typename Response>
struct UnaryCall {
  std::string caller;
  std::function<void(const absl::StatusOr<Response>&)> reply;
};

// Authorizes and parses on `queue`, then handler(Request&, UnaryCall<Response>) has to reply.
template <typename Request, typename Response, typename Handler>
grpc::ServerUnaryReactor* RunUnaryLater(const CallContext& shared, WorkQueue& queue,
                                        grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                        grpc::ByteBuffer* out, Handler handler) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<std::string> caller = shared.Authorize(*context);
  queue.Post([reactor, in, out, caller = std::move(caller), handler = std::move(handler)] {
    const auto reply = [reactor, out](const absl::StatusOr<Response>& response) {
      if (response.ok()) {
        *out = ToBytes(*response);
      } else {
        LOG_DEBUG("{}: {}", Request::descriptor()->full_name(), response.status().ToString());
      }
      reactor->Finish(ToGrpc(response.status()));
    };
    Request request;
    absl::Status status = caller.status();
    if (status.ok()) status = ParseMessage(*in, request);
    if (!status.ok()) return reply(status);
    handler(request, UnaryCall<Response>{*caller, reply});
  });
  return reactor;
}

// Calls that need no model: handler(Request&) -> absl::StatusOr<Response>.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* RunUnary(const CallContext& shared, WorkQueue& queue, grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* in, grpc::ByteBuffer* out, Handler handler) {
  using Response = typename std::invoke_result_t<Handler, Request&>::value_type;
  return RunUnaryLater<Request, Response>(
      shared, queue, context, in, out,
      [handler = std::move(handler)](Request& request, const UnaryCall<Response>& call) {
        call.reply(handler(request));
      });
}

// Calls that need one: handler(ServedModel&, Request&, caller) -> absl::StatusOr<Response>.
template <typename Request, typename Handler>
grpc::ServerUnaryReactor* RunOnModel(const CallContext& shared, WorkQueue& queue, grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out, Handler handler) {
  using Response = typename std::invoke_result_t<Handler, ServedModel&, Request&, const std::string&>::value_type;
  return RunUnaryLater<Request, Response>(
      shared, queue, context, in, out,
      [&shared, handler = std::move(handler)](Request& request, const UnaryCall<Response>& call) {
        // Given back before the reply: whoever has it may count on the lease being gone.
        const auto answer = [&]() -> absl::StatusOr<Response> {
          ASSIGN_OR_RETURN(const ModelLease model, shared.models.Lease());
          return handler(*model, request, call.caller);
        };
        call.reply(answer());
      });
}

}  // namespace tandem
