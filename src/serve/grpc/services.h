// The services of package tandem.v1. Each call is handed to the shared context's threads.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <memory>
#include <string>
#include <vector>

#include "serve/grpc/call_context.h"

namespace tandem {

// `shared` is borrowed.
std::vector<std::unique_ptr<grpc::Service>> MakeServices(CallContext* shared);

// The full names ("tandem.v1.Inference", ...) of those that answer while a model is loaded, and of those that always
// do.
std::vector<std::string> ModelServiceNames();
std::vector<std::string> DaemonServiceNames();

}  // namespace tandem
