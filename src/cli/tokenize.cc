// tandem tokenize: a text as the model sees it.
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/output.h"

namespace tandem {

absl::Status RunTokenize(const Session& session, const v1::TokenizeRequest& request) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::TokenizeResponse response, client->Tokenize(request));
  if (session.json) return PrintJson(response, JsonLayout::kDocument);
  Table table({{"POSITION", Align::kRight}, {"ID", Align::kRight}, {"TOKEN"}});
  for (int i = 0; i < response.ids_size(); ++i) {
    table.AddRow({absl::StrCat(i), absl::StrCat(response.ids(i)), Harmless(response.tokens(i))});
  }
  return Print(absl::StrCat(table.Render(session.out), response.ids_size(), " tokens\n"));
}

}  // namespace tandem
