#include "serve/grpc/call_context.h"

#include "base/status.h"

namespace tandem {
namespace {

absl::StatusOr<std::string> CertificateName(const grpc::CallbackServerContext& context) {
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  if (peer == nullptr || !peer->IsPeerAuthenticated()) {
    return absl::UnauthenticatedError("no client certificate, want one that tls.client_ca has signed");
  }
  const std::vector<grpc::string_ref> names = peer->FindPropertyValues("x509_common_name");
  return names.empty() ? "certificate" : std::string(names[0].data(), names[0].size());
}

absl::StatusOr<std::string> KeyName(const grpc::CallbackServerContext& context, const std::vector<ApiKey>& keys) {
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  if (first == last) {
    return absl::UnauthenticatedError("no API key, want the metadata 'authorization: Bearer KEY'");
  }
  if (std::next(first) != last) return absl::UnauthenticatedError("several authorization headers, want one");
  ASSIGN_OR_RETURN(const std::string_view presented,
                   BearerKey(std::string_view(first->second.data(), first->second.size())));
  const ApiKey* const key = FindApiKey(keys, presented);
  if (key == nullptr) return absl::UnauthenticatedError("the API key is not one of this daemon's");
  return key->name;
}

}  // namespace

absl::StatusOr<std::string> CallContext::Authorize(const grpc::CallbackServerContext& context) const {
  std::string caller;
  if (access.client_certificate) {
    ASSIGN_OR_RETURN(caller, CertificateName(context));
  }
  if (!access.api_keys.empty()) {
    ASSIGN_OR_RETURN(caller, KeyName(context, access.api_keys));
  }
  return caller;
}

}  // namespace tandem
