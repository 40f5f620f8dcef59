// The commands of `tandem`. Each writes its result to stdout, or returns why not; main.cc reads the command line and
// turns a status into "tandem: message (STATUS)" and an exit code.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/client.h"
#include "cli/terminal.h"
#include "tandem/v1/finetuning.pb.h"
#include "tandem/v1/inference.pb.h"
#include "tandem/v1/models.pb.h"

namespace tandem {

struct Session {
  ConnectOptions daemon;
  bool json = false;  // one JSON document, or JSON lines where there is a stream (proto3's own mapping)
  Terminal out;       // stdout
};

struct TuneOptions {
  v1::CreateJobRequest request;  // but for the data
  std::string data;              // a JSONL file
  bool data_on_daemon = false;   // `data` is a path on the daemon's machine; else the file is sent along
  bool watch = false;
};

struct DoctorOptions {
  std::string config;  // "": none is checked
  std::string model;   // a directory; "": none is checked
  std::string state_dir = "state";
};

// Reads stdin; of `request` the adapter, the sampling and, as its only chat message, the system's words.
absl::Status RunChat(const Session& session, const v1::GenerateRequest& request);
absl::Status RunEmbed(const Session& session, const v1::EmbedRequest& request);
absl::Status RunTokenize(const Session& session, const v1::TokenizeRequest& request);
// FAILED_PRECONDITION where a check failed.
absl::Status RunDoctor(const Session& session, const DoctorOptions& options);
absl::Status RunGenerate(const Session& session, const v1::GenerateRequest& request);
absl::Status RunTune(const Session& session, const TuneOptions& options);

absl::Status RunJobsList(const Session& session);
absl::Status RunJobsShow(const Session& session, const std::string& id);
absl::Status RunJobsWatch(const Session& session, const std::string& id);
absl::Status RunJobsCancel(const Session& session, const std::string& id);

absl::Status RunAdaptersList(const Session& session);
absl::Status RunAdaptersLoad(const Session& session, const std::string& name, const std::string& path);
absl::Status RunAdaptersUnload(const Session& session, const std::string& name);

absl::Status RunModelsList(const Session& session);
absl::Status RunModelsShow(const Session& session, const std::string& name);
// `path` is on the daemon's machine; with an empty name the model gets that of its directory.
absl::Status RunModelsLoad(const Session& session, const std::string& path, const std::string& name);
absl::Status RunModelsUnload(const Session& session, const v1::UnloadModelRequest& request);

absl::Status RunStatus(const Session& session);
absl::Status RunStatusWatch(const Session& session);  // drawn in place until Ctrl-C

}  // namespace tandem
