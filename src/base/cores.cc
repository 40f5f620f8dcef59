#include "base/cores.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>

namespace tandem {
namespace {

constexpr char kCpuMax[] = "/sys/fs/cgroup/cpu.max";  // version 2; a container sees its own group there

// A machine of more than 1024 cores needs a larger set than cpu_set_t; there the mask is not asked.
int CoresOfMask() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return static_cast<int>(std::thread::hardware_concurrency());
  return CPU_COUNT(&mask);
}

}  // namespace

std::optional<int> CoresOfQuota(const std::string& cpu_max) {
  std::istringstream text(cpu_max);
  int64_t quota = 0, period = 0;
  if (!(text >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  const int64_t cores = quota / period + (quota % period > 0 ? 1 : 0);
  return static_cast<int>(std::min<int64_t>(cores, std::numeric_limits<int>::max()));
}

int UsableCores() {
  int cores = CoresOfMask();
  std::string quota;
  if (std::getline(std::ifstream(kCpuMax), quota)) cores = std::min(cores, CoresOfQuota(quota).value_or(cores));
  return std::max(1, cores);
}

}  // namespace tandem
