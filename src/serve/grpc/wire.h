// Calls as raw bytes: messages are parsed on our own threads, and one that does not parse is answered with a reason
// (gRPC 1.51 by itself says UNIMPLEMENTED and nothing more).
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include "absl/status/status.h"

namespace tandem {

// Same code; the message cut to what fits in a trailer (8 KiB, non-ASCII bytes take three).
grpc::Status ToGrpc(const absl::Status& status);

// INVALID_ARGUMENT where the bytes are no such message, or a string field of it is not UTF-8.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);

grpc::ByteBuffer ToBytes(const google::protobuf::Message& message);

}  // namespace tandem
