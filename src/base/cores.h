// How many cores this process may use, which on shared machines is fewer than there are.
#pragma once

#include <optional>
#include <string>

namespace tandem {

// At least 1: those of the calling thread's affinity mask (taskset, cpusets), or fewer where its control group has a
// quota of processor time. std::thread::hardware_concurrency counts the machine's.
int UsableCores();

// Cores' worth of time, rounded up, that a cgroup's cpu.max ("150000 100000": 1.5 cores) gives; nullopt for "max ..."
// and what is not such a line.
std::optional<int> CoresOfQuota(const std::string& cpu_max);

}  // namespace tandem
