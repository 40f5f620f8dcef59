// Fairness between tenants: who has been served how much, and in which order their waiting requests take turns.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tandem/batch.h"

namespace tandem {

struct WaitingRequest {
  SequenceId sequence = 0;
  int priority = 0;
  std::string tenant;
  absl::Time arrival;
  int prompt_tokens = 0;
};

// Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, algorithm 2): every
// tenant has a counter of the tokens it was served, a generated one counting twice, divided by its weight; the one with
// the lowest goes next. One that comes back from being idle is lifted to the lowest of those that are not: being idle
// earns nothing. Step thread only.
class Tenants {
 public:
  // Weights above 0 of tenants by name; others have 1.
  explicit Tenants(std::map<std::string, double> weights) : weights_(std::move(weights)) {}

  // A request of the tenant has come, or has ended.
  void Enter(const std::string& tenant);
  void Leave(const std::string& tenant);
  void Serve(const std::string& tenant, int prompt_tokens, int generated_tokens);

  int active() const { return active_; }  // tenants with a request
  double served(const std::string& tenant) const;

  // The turns of waiting requests, from 1 on, in the order given: as if each got its prompt served in its turn. Within
  // a priority only the order of turns means anything; a tenant's own are in the order of arrival.
  std::vector<int> Turns(const std::vector<WaitingRequest>& waiting) const;

 private:
  struct Tenant {
    int requests = 0;
    double served = 0;
  };

  double WeightOf(const std::string& tenant) const;
  double LowestActive() const;

  const std::map<std::string, double> weights_;
  std::map<std::string, Tenant> tenants_;
  int active_ = 0;
};

}  // namespace tandem
