#include "inference/tenants.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <numeric>
#include <tuple>

#include "base/check.h"

namespace tandem {
namespace {

// A generated token costs about what two of a prompt do: the paper's weights.
constexpr double kPromptWeight = 1, kGeneratedWeight = 2;

}  // namespace

void Tenants::Enter(const std::string& name) {
  const double lowest = LowestActive();
  Tenant& tenant = tenants_[name];
  if (tenant.requests++ > 0) return;
  if (active_++ > 0) tenant.served = std::max(tenant.served, lowest);
}

void Tenants::Leave(const std::string& name) {
  const auto found = tenants_.find(name);
  CHECK(found != tenants_.end() && found->second.requests > 0) << name;
  if (--found->second.requests > 0) return;
  if (--active_ == 0) return tenants_.clear();  // nobody is left to be fair to
  // Idle counters that would be lifted anyway say nothing; the others are as few as the tenants served beyond.
  const double lowest = LowestActive();
  std::erase_if(tenants_,
                [&](const auto& entry) { return entry.second.requests == 0 && entry.second.served <= lowest; });
}

void Tenants::Serve(const std::string& name, int prompt_tokens, int generated_tokens) {
  tenants_[name].served += (kPromptWeight * prompt_tokens + kGeneratedWeight * generated_tokens) / WeightOf(name);
}

double Tenants::served(const std::string& tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.served;
}

std::vector<int> Tenants::Turns(const std::vector<WaitingRequest>& waiting) const {
  std::vector<size_t> order(waiting.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tie(waiting[a].priority, waiting[a].arrival, waiting[a].sequence) <
           std::tie(waiting[b].priority, waiting[b].arrival, waiting[b].sequence);
  });
  std::vector<int> turns(waiting.size());
  std::map<std::string, double> counters;
  int turn = 0;
  for (size_t first = 0; first < order.size();) {
    // One priority: the queues of its tenants, each in the order of arrival.
    std::map<std::string, std::deque<size_t>> queues;
    const int priority = waiting[order[first]].priority;
    for (; first < order.size() && waiting[order[first]].priority == priority; ++first) {
      const std::string& tenant = waiting[order[first]].tenant;
      queues[tenant].push_back(order[first]);
      counters.try_emplace(tenant, served(tenant));
    }
    std::map<std::pair<double, size_t>, std::string> next;  // (counter, its first request's place) -> tenant
    const auto enqueue = [&](const std::string& tenant) {
      if (!queues[tenant].empty()) next.emplace(std::pair(counters[tenant], queues[tenant].front()), tenant);
    };
    for (const auto& [tenant, queue] : queues) enqueue(tenant);
    while (!next.empty()) {
      const std::string tenant = next.begin()->second;
      next.erase(next.begin());
      const size_t i = queues[tenant].front();
      queues[tenant].pop_front();
      turns[i] = ++turn;
      counters[tenant] += kPromptWeight * waiting[i].prompt_tokens / WeightOf(tenant);
      enqueue(tenant);
    }
  }
  return turns;
}

double Tenants::WeightOf(const std::string& tenant) const {
  const auto found = weights_.find(tenant);
  return found == weights_.end() ? 1 : found->second;
}

double Tenants::LowestActive() const {
  double lowest = std::numeric_limits<double>::infinity();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.requests > 0) lowest = std::min(lowest, tenant.served);
  }
  return lowest;
}

}  // namespace tandem
