// tandem embed: texts as vectors. A terminal gets how near they are to each other, --json all values.
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/output.h"

namespace tandem {
namespace {

constexpr int kShownValues = 4;
constexpr int kMostCompared = 8;  // columns that fit beside the rest

double Dot(const v1::Embedding& a, const v1::Embedding& b) {
  double sum = 0;
  for (int i = 0; i < std::min(a.values_size(), b.values_size()); ++i) {
    sum += static_cast<double>(a.values(i)) * b.values(i);
  }
  return sum;
}

std::string Cosine(const v1::Embedding& a, const v1::Embedding& b) {
  const double lengths = std::sqrt(Dot(a, a) * Dot(b, b));
  return lengths > 0 ? absl::StrFormat("%.3f", Dot(a, b) / lengths) : "-";
}

std::string Values(const v1::Embedding& embedding) {
  std::string text;
  for (int i = 0; i < std::min(kShownValues, embedding.values_size()); ++i) {
    absl::StrAppendFormat(&text, "%s%.4f", i > 0 ? " " : "", embedding.values(i));
  }
  return embedding.values_size() > kShownValues ? text + " ..." : text;
}

std::string EmbeddingsTable(const Terminal& terminal, const v1::EmbedResponse& response) {
  const int count = response.embeddings_size(), compared = count > 1 ? std::min(count, kMostCompared) : 0;
  std::vector<Table::Column> columns{{"INPUT", Align::kRight}, {"TOKENS", Align::kRight}, {"LENGTH", Align::kRight}};
  for (int i = 0; i < compared; ++i) columns.push_back({absl::StrCat("COS ", i + 1), Align::kRight});
  columns.push_back({"VALUES"});
  Table table(columns);
  for (int row = 0; row < count; ++row) {
    const v1::Embedding& embedding = response.embeddings(row);
    std::vector<std::string> cells{absl::StrCat(row + 1), absl::StrCat(embedding.tokens()),
                                   absl::StrFormat("%.3f", std::sqrt(Dot(embedding, embedding)))};
    for (int i = 0; i < compared; ++i) cells.push_back(Cosine(embedding, response.embeddings(i)));
    cells.push_back(Values(embedding));
    table.AddRow(cells);
  }
  return table.Render(terminal);
}

}  // namespace

absl::Status RunEmbed(const Session& session, const v1::EmbedRequest& request) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::EmbedResponse response, client->Embed(request));
  if (session.json) return PrintJson(response, JsonLayout::kDocument);
  const int width = response.embeddings_size() > 0 ? response.embeddings(0).values_size() : 0;
  return Print(absl::StrCat(EmbeddingsTable(session.out, response), width, " values each, ",
                            response.usage().prompt_tokens(), " tokens\n"));
}

}  // namespace tandem
