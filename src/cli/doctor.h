// tandem doctor's findings, each from text that the machine gives: pure where there is something to decide.
#pragma once

#include <cstdint>
#include <string>

#include "tandem/v1/daemon.pb.h"

namespace tandem {

enum class Health { kOk, kWarn, kFail };

struct Finding {
  Health health = Health::kOk;
  std::string what;   // "memory"
  std::string found;  // what there is, and where it is not good what to do
};

// Of /proc/cpuinfo.
Finding CheckCpu(const std::string& cpuinfo);
// Of /proc/meminfo; model_bytes: of the weights, 0 where no model was named.
Finding CheckMemory(const std::string& meminfo, int64_t model_bytes);
// Of /sys/kernel/mm/transparent_hugepage/enabled; "" where there is none.
Finding CheckHugePages(const std::string& enabled);
// Free bytes of the disk that holds `directory`.
Finding CheckDisk(const std::string& directory, int64_t free_bytes);
// Of a model's directory: the files that the daemon needs, and the bytes of its weights.
Finding CheckModel(const std::string& directory, int64_t* model_bytes);
// Of a daemon that answers at `server`.
Finding CheckServedModel(const v1::DaemonStatus& status, const std::string& server);

}  // namespace tandem
