// tandem.v1.Models: loading and unloading while the daemon runs.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>

#include "serve/grpc/call_context.h"

namespace tandem {

std::unique_ptr<grpc::Service> MakeModelsService(CallContext* shared);  // borrowed

}  // namespace tandem
