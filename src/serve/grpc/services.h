// The four services of package tandem.v1. Each call is handed to the shared context's threads.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <memory>
#include <string>
#include <vector>

#include "serve/grpc/call_context.h"

namespace tandem {

// In the order Inference, FineTuning, Adapters, Daemon; `shared` is borrowed.
std::vector<std::unique_ptr<grpc::Service>> MakeServices(CallContext* shared);

// Their full names: "tandem.v1.Inference", ...
std::vector<std::string> ServiceNames();

}  // namespace tandem
