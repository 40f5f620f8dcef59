// tandem chat: a conversation through the model's chat template. Commands begin with '/'; Ctrl-C ends an answer, not
// the program.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/output.h"

namespace tandem {
namespace {

constexpr const char* kHelp =
    "  /reset            forget what was said\n"
    "  /system TEXT      what the model is told before all else; without TEXT: nothing; forgets what was said\n"
    "  /adapter NAME     answer with a loaded adapter; without NAME: the base model\n"
    "  /temp X           temperature, 0: greedy; without X: the model's own\n"
    "  /quit             leave, as Ctrl-D does; Ctrl-C ends an answer\n";

class Conversation {
 public:
  Conversation(const Session& session, Client* client, const v1::GenerateRequest& request)
      : session_(session), client_(client), request_(request) {
    for (const v1::ChatMessage& message : request.chat().messages()) system_ = message.content();
    Reset();
  }

  void Reset() {
    request_.mutable_chat()->clear_messages();
    if (!system_.empty()) AddMessage("system", system_);
  }

  // A line that begins with '/'. CANCELLED: the user wants to leave.
  absl::Status Command(const std::string& line) {
    const size_t blank = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, blank);
    const std::string argument(absl::StripAsciiWhitespace(line.substr(blank)));
    if (name == "/quit" || name == "/exit") return absl::CancelledError("");
    if (name == "/help") return Print(kHelp);
    if (name == "/reset") {
      Reset();
      return Note("starting afresh");
    }
    if (name == "/system") {
      system_ = argument;
      Reset();
      return Note(argument.empty() ? "no system message; starting afresh" : "starting afresh with this system message");
    }
    if (name == "/adapter") return UseAdapter(argument);
    if (name == "/temp") return UseTemperature(argument);
    return absl::InvalidArgumentError(absl::StrCat(
        "unknown command ", name, SuggestNames(name, {"/reset", "/system", "/adapter", "/temp", "/quit", "/help"})));
  }

  // One question and its answer. What fails is taken back, so that it can be asked again.
  absl::Status Ask(const std::string& question) {
    AddMessage("user", question);
    std::string answer;
    absl::Status printed;
    absl::Status status;
    {
      const InterruptHandler on_interrupt([this] { client_->CancelGenerate(); });
      status = client_->Generate(request_, [&](const v1::GenerateResponse& response) {
        answer += response.text();
        printed.Update(session_.json ? PrintJson(response, JsonLayout::kLine)
                                     : Print(session_.out.interactive ? Harmless(response.text()) : response.text()));
      });
    }
    if (!session_.json && !answer.empty()) printed.Update(Print("\n"));
    const bool cut = absl::IsCancelled(status);
    if ((!status.ok() && !cut) || answer.empty()) {
      request_.mutable_chat()->mutable_messages()->RemoveLast();
    } else {
      AddMessage("assistant", answer);
    }
    RETURN_IF_ERROR(printed);
    return cut ? Note("stopped") : status;
  }

 private:
  void AddMessage(const std::string& role, const std::string& content) {
    v1::ChatMessage& message = *request_.mutable_chat()->add_messages();
    message.set_role(role);
    message.set_content(content);
  }

  // For a person; a script gets the answers only.
  absl::Status Note(const std::string& text) const {
    return session_.json || !session_.out.interactive ? absl::OkStatus()
                                                      : Print(Paint(session_.out, Style::kDim, text) + "\n");
  }

  absl::Status UseAdapter(const std::string& name) {
    if (!name.empty()) {
      ASSIGN_OR_RETURN(const v1::ListAdaptersResponse list, client_->ListAdapters());
      std::vector<std::string> names;
      for (const v1::Adapter& adapter : list.adapters()) names.push_back(adapter.name());
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        return absl::NotFoundError(absl::StrCat("no adapter '", name, "'", SuggestNames(name, names)));
      }
    }
    request_.set_adapter(name);
    return Note(name.empty() ? "the base model answers" : absl::StrCat(name, " answers"));
  }

  absl::Status UseTemperature(const std::string& text) {
    float temperature = 0;
    if (text.empty()) {
      request_.mutable_sampling()->clear_temperature();
      return Note("the model's own temperature");
    }
    if (!absl::SimpleAtof(text, &temperature) || !(temperature >= 0 && temperature <= 100)) {
      return absl::InvalidArgumentError(absl::StrCat("temperature is '", text, "', want 0 to 100"));
    }
    request_.mutable_sampling()->set_temperature(temperature);
    return Note(absl::StrCat("temperature ", temperature));
  }

  const Session& session_;
  Client* const client_;
  v1::GenerateRequest request_;  // the conversation so far
  std::string system_;
};

}  // namespace

absl::Status RunChat(const Session& session, const v1::GenerateRequest& request) {
  HoldInterrupts();
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(session.daemon));
  const bool typed = ::isatty(STDIN_FILENO) == 1 && session.out.interactive;
  Conversation conversation(session, client.get(), request);
  if (typed) {
    RETURN_IF_ERROR(Print(Paint(session.out, Style::kDim, "/help tells the commands, Ctrl-D leaves") + "\n"));
  }
  LineReader reader;
  std::string line;
  while (true) {
    if (typed) RETURN_IF_ERROR(Print(Paint(session.out, Style::kGreen, "> ")));
    const LineReader::Event event = reader.Next(line);
    if (event == LineReader::Event::kEnd) return typed ? Print("\n") : absl::OkStatus();
    if (event == LineReader::Event::kInterrupt) {
      if (!typed) return absl::CancelledError("interrupted");
      RETURN_IF_ERROR(Print("\n"));  // the terminal has thrown the line away
      continue;
    }
    const std::string words(absl::StripAsciiWhitespace(line));
    if (words.empty()) continue;
    const bool is_command = words[0] == '/';
    const absl::Status status = is_command ? conversation.Command(words) : conversation.Ask(words);
    if (is_command && absl::IsCancelled(status)) return absl::OkStatus();
    if (status.ok()) continue;
    if (!typed) return status;  // a script wants to know; a person can go on
    RETURN_IF_ERROR(Print(absl::StrCat(Paint(session.out, Style::kRed, std::string(status.message())), "\n")));
  }
}

}  // namespace tandem
