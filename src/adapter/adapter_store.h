// The adapters that can answer now: names with generations, prepared for a backend, and the working copies of jobs.
//
// A name's generations are numbered from 1 and never reused. New requests get the newest; a running request holds a
// lease on the one it began with, and a generation's memory goes with its last lease.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "adapter/adapter_weights.h"
#include "backend/device_tensor.h"
#include "tandem/adapter.h"
#include "tandem/backend.h"

namespace tandem {

// One linear's bypass on the device: what the operations' segments borrow. What its method does not have is empty.
struct AdapterBypass {
  std::unique_ptr<Matrix> a, b;
  float scale = 0;
  std::optional<Activation> activation;  // between the two
  DeviceTensor factor;                   // [out]; [in] where scales_input
  bool scales_input = false;
  bool reads_output = false;  // of the linear; else its input alone
  // DoRA: A and B row by row, and 1 / ||W + scale B A|| of every row, which the model makes of them.
  DeviceTensor a_rows, b_rows, inverse_norms;

  bool exists() const { return a != nullptr || !factor.empty(); }
  // Whether A reads what the linear reads.
  bool adds_to_input_path() const { return a != nullptr && !activation.has_value(); }
  LoraSegment Pair(int first_row, int num_rows) const {
    return {first_row, num_rows, a.get(), b.get(), scale, activation};
  }
  // `bias`: the linear's, which DoRA leaves as it is; may be without data.
  ScaleSegment Scale(int first_row, int num_rows, const TensorView& bias) const {
    return {first_row, num_rows, factor.view(), inverse_norms.view(), a == nullptr ? TensorView() : bias};
  }
};

// One generation of an adapter, immutable; or a job's working copy, which changes between steps.
class Adapter {
 public:
  Adapter(AdapterRef ref, AdapterInfo info, const AdapterWeights& weights, Backend& backend);

  AdapterRef ref() const { return ref_; }
  const AdapterInfo& info() const { return info_; }
  // Null where that linear has no bypass.
  const AdapterBypass* Find(int layer, LinearKind kind) const;
  int num_layers() const { return static_cast<int>(bypasses_.size()) / kNumLinears; }  // up to the last with a bypass
  // Whether a linear that runs before this one has a bypass: backward need not go further down where none has.
  bool HasBypassBefore(int layer, LinearKind kind) const;
  // Takes over the values of the bypasses that this was made of.
  void Update(std::span<const BypassViews> bypasses, Backend& backend);

  // Whether inverse_norms are still to be made of A and B. Step thread only, as are the two that change it: Update, and
  // whoever made them, on whatever adapter he holds.
  bool needs_norms() const { return needs_norms_; }
  void NormsAreMade() const { needs_norms_ = false; }

 private:
  const AdapterRef ref_;
  const AdapterInfo info_;
  std::vector<AdapterBypass> bypasses_;  // [layers * kNumLinears]
  mutable bool needs_norms_;
};

// Shared because the store, and every request that runs with it, keep a generation alive. Not to outlive the backend.
using AdapterLease = std::shared_ptr<const Adapter>;

inline constexpr int kMaxGeneration = 1'000'000'000;

// [A-Za-z0-9._-]{1,64}, not beginning with a dot: a name may become a directory's.
absl::Status CheckAdapterName(std::string_view name);

// Thread-safe. Matrices are created on the calling thread, which Backend::CreateMatrix must allow beside a running
// step.
class AdapterStore {
 public:
  // `backend` must outlive the store and every lease. `now` gives AdapterInfo::created.
  AdapterStore(Backend& backend, const LinearShapes& shapes, std::function<absl::Time()> now = absl::Now);
  AdapterStore(const AdapterStore&) = delete;
  AdapterStore& operator=(const AdapterStore&) = delete;

  // `weights` as the next generation of `name`; `path` is its PEFT directory, `job_id` who made it ("" for either:
  // none). INVALID_ARGUMENT for a name that CheckAdapterName refuses.
  absl::StatusOr<AdapterInfo> Publish(const std::string& name, const AdapterWeights& weights, const std::string& path,
                                      const std::string& job_id);
  // Reads a PEFT directory (adapter/peft_files.h) and publishes it.
  absl::StatusOr<AdapterInfo> Load(const std::string& name, const std::string& path);
  // The same under the number, 1 .. kMaxGeneration, that the generation had before the daemon was started anew.
  // FAILED_PRECONDITION unless it is above all that the name has had.
  absl::StatusOr<AdapterInfo> Restore(const std::string& name, const std::string& path, int generation);
  // New requests no longer find it; leases stay. NOT_FOUND suggests the nearest names.
  absl::Status Unload(const std::string& name);
  // The newest generation of every loaded name, by name.
  std::vector<AdapterInfo> List() const;
  // The newest generation. NOT_FOUND suggests the nearest names.
  absl::StatusOr<AdapterLease> Acquire(const std::string& name) const;

  // A job's trainable copy: no name, not listed. Add and Remove by the job's owner; Update, which must not run beside a
  // step that uses the copy, by the step thread. CHECK that `ref` came from AddWorkingCopy and was not removed.
  AdapterRef AddWorkingCopy(const AdapterWeights& weights);
  void UpdateWorkingCopy(AdapterRef ref, std::span<const BypassViews> pairs);
  void RemoveWorkingCopy(AdapterRef ref);

  // Any living generation or working copy; null for the base model and for what nobody holds any more. Valid as long as
  // its lease or working copy: the caller's batch holds one.
  const Adapter* Find(AdapterRef ref) const;

  const LinearShapes& shapes() const { return shapes_; }

 private:
  struct Entry {
    int32_t id = 0;
    int32_t last_generation = 0;
    AdapterLease newest;  // null while unloaded
  };
  static std::pair<int32_t, int32_t> Key(AdapterRef ref) { return {ref.id, ref.generation}; }
  // Takes the name's next generation, or the given one: from then on nobody else gets it.
  absl::StatusOr<AdapterRef> TakeGeneration(const std::string& name, std::optional<int> generation);
  // Prepares the weights of a generation that was taken, and makes it the one that new requests get. Completes `info`.
  AdapterInfo Install(AdapterRef ref, AdapterInfo info, const AdapterWeights& weights);
  // Sorted.
  std::vector<std::string> LoadedNames() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Backend& backend_;
  const LinearShapes shapes_;
  const std::function<absl::Time()> now_;

  mutable absl::Mutex mutex_;
  int32_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, Entry> names_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<int32_t, std::shared_ptr<Adapter>> working_copies_ ABSL_GUARDED_BY(mutex_);
  // Every published generation that still lives, or has died since the last publication.
  absl::flat_hash_map<std::pair<int32_t, int32_t>, std::weak_ptr<const Adapter>> generations_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tandem
