// tandem models: what the daemon serves, and how to change it while it runs.
#include <chrono>
#include <future>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/job_view.h"
#include "cli/output.h"

namespace tandem {
namespace {

constexpr std::chrono::milliseconds kRedrawEvery{200};
constexpr int kBarWidth = 32;

std::string StateText(const v1::Model& model) {
  constexpr std::string_view kPrefix = "MODEL_STATE_";
  const std::string name = v1::ModelState_Name(model.state());
  const std::string state =
      name.starts_with(kPrefix) ? absl::AsciiStrToLower(name.substr(kPrefix.size())) : absl::StrCat(model.state());
  if (model.state() != v1::MODEL_STATE_LOADING) return state;
  return absl::StrFormat("%s, %.0f %%", state, 100 * model.progress());
}

std::string ModelsTable(const Terminal& terminal, const v1::ListModelsResponse& response) {
  Table table({{"MODEL"},
               {"STATE"},
               {"PARAMETERS", Align::kRight},
               {"DTYPE"},
               {"CONTEXT", Align::kRight},
               {"SINCE"},
               {"FROM"}});
  for (const v1::Model& model : response.models()) {
    const bool ready = model.state() == v1::MODEL_STATE_READY;
    table.AddRow({model.name(), StateText(model),
                  ready ? FormatCount(static_cast<double>(model.num_parameters())) : "-",
                  ready ? model.weight_dtype() : "-", ready ? absl::StrCat(model.max_context()) : "-",
                  FormatAge(FromProto(model.since()), absl::Now()), model.path()});
  }
  return table.Render(terminal);
}

// A bar in place while the load runs, on a terminal; gone when it ends.
absl::StatusOr<v1::Model> LoadWithBar(const Session& session, Client& client, const std::string& path,
                                      const std::string& name) {
  std::future<absl::StatusOr<v1::Model>> loading =
      std::async(std::launch::async, [&] { return client.LoadModel(path, name); });
  if (!session.out.interactive || session.json) return loading.get();
  while (loading.wait_for(kRedrawEvery) != std::future_status::ready) {
    const absl::StatusOr<v1::ListModelsResponse> models = client.ListModels();
    if (!models.ok() || models->models().empty()) continue;
    const v1::Model& model = models->models(0);
    RETURN_IF_ERROR(Print(absl::StrCat("\r\x1b[K", Truncate(model.name(), 30), "  ",
                                       Paint(session.out, Style::kGreen, Bar(model.progress(), kBarWidth)), "  ",
                                       StateText(model))));
  }
  RETURN_IF_ERROR(Print("\r\x1b[K"));
  return loading.get();
}

}  // namespace

absl::Status RunModelsList(const Session& session) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::ListModelsResponse response, client->ListModels());
  if (session.json) return PrintJson(response, JsonLayout::kDocument);
  if (response.models().empty()) return Print("no model is loaded: tandem models load PATH\n");
  return Print(ModelsTable(session.out, response));
}

absl::Status RunModelsShow(const Session& session, const std::string& name) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  ASSIGN_OR_RETURN(const v1::Model model, client->GetModel(name));
  if (session.json) return PrintJson(model, JsonLayout::kDocument);
  std::vector<std::pair<std::string, std::string>> fields = {
      {"model", model.name()},
      {"path", model.path()},
      {"state", absl::StrCat(StateText(model), ", for ", FormatAge(FromProto(model.since()), absl::Now()))}};
  if (model.state() == v1::MODEL_STATE_READY) {
    fields.emplace_back("parameters", absl::StrCat(FormatCount(static_cast<double>(model.num_parameters())), ", ",
                                                   model.weight_dtype()));
    fields.emplace_back("context", absl::StrCat(model.max_context(), " tokens"));
    fields.emplace_back("backend", model.backend());
  }
  return Print(RenderFields(session.out, fields));
}

absl::Status RunModelsLoad(const Session& session, const std::string& path, const std::string& name) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  const absl::Time begin = absl::Now();
  ASSIGN_OR_RETURN(const v1::Model model, LoadWithBar(session, *client, path, name));
  if (session.json) return PrintJson(model, JsonLayout::kDocument);
  return Print(absl::StrFormat("loaded %s in %.1f s: %s parameters, %s, context %d tokens\n", model.name(),
                               absl::ToDoubleSeconds(absl::Now() - begin),
                               FormatCount(static_cast<double>(model.num_parameters())), model.weight_dtype(),
                               model.max_context()));
}

absl::Status RunModelsUnload(const Session& session, const v1::UnloadModelRequest& request) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  RETURN_IF_ERROR(client->UnloadModel(request));
  if (session.json) return PrintJson(v1::UnloadModelResponse(), JsonLayout::kDocument);
  return Print(absl::StrCat("unloaded ", request.name(), "\n"));
}

}  // namespace tandem
