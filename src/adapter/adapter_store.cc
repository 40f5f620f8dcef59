#include "adapter/adapter_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "adapter/peft_files.h"
#include "base/check.h"
#include "base/names.h"
#include "base/status.h"

namespace tandem {
namespace {

constexpr size_t kMaxNameBytes = 64;

absl::Status NoAdapter(const std::string& name, const std::vector<std::string>& loaded) {
  const std::string shown = absl::CHexEscape(name.substr(0, kMaxNameBytes));
  return absl::NotFoundError(absl::StrCat("no adapter '", shown, "'", SuggestNames(shown, loaded)));
}

}  // namespace

Adapter::Adapter(AdapterRef ref, AdapterInfo info, const AdapterWeights& weights, Backend& backend)
    : ref_(ref),
      info_(std::move(info)),
      bypasses_(static_cast<size_t>(weights.bypasses().back().layer + 1) * kNumLinears),
      needs_norms_(weights.spec().method == PeftMethod::kDora) {
  const PeftSpec& spec = weights.spec();
  for (const BypassWeights& from : weights.bypasses()) {
    AdapterBypass& to = bypasses_[from.layer * kNumLinears + static_cast<int>(from.linear)];
    to.scales_input = spec.scales_input(from.linear);
    to.reads_output = spec.reads_output(from.linear);
    if (spec.has_pair()) {
      to.a = backend.CreateMatrix(from.a.view());
      to.b = backend.CreateMatrix(from.b.view());
      to.scale = weights.scale();
    }
    if (spec.has_factor()) to.factor = DeviceTensor::CopyOf(backend, from.factor.view());
    if (spec.method == PeftMethod::kBottleneck) to.activation = spec.activation;
    if (spec.method == PeftMethod::kDora) {
      to.a_rows = DeviceTensor::CopyOf(backend, from.a.view());
      to.b_rows = DeviceTensor::CopyOf(backend, from.b.view());
      to.inverse_norms = DeviceTensor(backend, DType::kF32, from.factor.shape());
    }
  }
}

const AdapterBypass* Adapter::Find(int layer, LinearKind kind) const {
  const size_t index = static_cast<size_t>(layer) * kNumLinears + static_cast<size_t>(kind);
  return index < bypasses_.size() && bypasses_[index].exists() ? &bypasses_[index] : nullptr;
}

bool Adapter::HasBypassBefore(int layer, LinearKind kind) const {
  const size_t end = static_cast<size_t>(layer) * kNumLinears + static_cast<size_t>(kind);
  const auto exists = [](const AdapterBypass& bypass) { return bypass.exists(); };
  return std::any_of(bypasses_.begin(), bypasses_.begin() + std::min(end, bypasses_.size()), exists);
}

void Adapter::Update(std::span<const BypassViews> bypasses, Backend& backend) {
  for (const BypassViews& from : bypasses) {
    const AdapterBypass* own = Find(from.layer, from.linear);
    CHECK(own != nullptr) << "layer " << from.layer << ", linear " << static_cast<int>(from.linear);
    if (own->a != nullptr) {
      backend.UpdateMatrix(*own->a, from.a);
      backend.UpdateMatrix(*own->b, from.b);
    }
    if (!own->factor.empty()) backend.Copy(from.factor, own->factor.view());
    if (own->inverse_norms.empty()) continue;
    backend.Copy(from.a, own->a_rows.view());
    backend.Copy(from.b, own->b_rows.view());
    needs_norms_ = true;
  }
}

absl::Status CheckAdapterName(std::string_view name) {
  const auto allowed = [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; };
  if (!name.empty() && name.size() <= kMaxNameBytes && name[0] != '.' && name[0] != '-' &&
      std::all_of(name.begin(), name.end(), allowed)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("adapter name '", absl::CHexEscape(std::string(name.substr(0, kMaxNameBytes))),
                   name.size() > kMaxNameBytes ? "...'" : "'",
                   ", want 1 to 64 letters, digits, '.', '_' or '-', beginning with neither '.' nor '-'"));
}

AdapterStore::AdapterStore(Backend& backend, const LinearShapes& shapes, std::function<absl::Time()> now)
    : backend_(backend), shapes_(shapes), now_(std::move(now)) {}

absl::StatusOr<AdapterRef> AdapterStore::TakeGeneration(const std::string& name, std::optional<int> generation) {
  absl::MutexLock lock(&mutex_);
  const auto found = names_.find(name);
  const int last = found == names_.end() ? 0 : found->second.last_generation;
  if (generation.has_value() && (*generation <= last || *generation > kMaxGeneration)) {
    return absl::FailedPreconditionError(absl::StrCat("adapter '", name, "': generation ", *generation, ", want from ",
                                                      last + 1, " to ", kMaxGeneration));
  }
  if (last == kMaxGeneration) {
    return absl::ResourceExhaustedError(absl::StrCat("adapter '", name, "' has had ", kMaxGeneration, " generations"));
  }
  Entry& entry = names_[name];
  if (entry.id == 0) entry.id = ++last_id_;
  entry.last_generation = generation.value_or(last + 1);
  return AdapterRef{entry.id, entry.last_generation};
}

AdapterInfo AdapterStore::Install(AdapterRef ref, AdapterInfo info, const AdapterWeights& weights) {
  info.generation = ref.generation;
  info.method = weights.spec().method;
  info.rank = weights.rank();
  info.alpha = weights.alpha();
  info.num_parameters = weights.num_parameters();
  info.created = now_();
  for (const LinearKind kind : weights.spec().targets)
    info.target_modules.emplace_back(weights.spec().names.Name(kind));
  // Packing takes long and needs no lock: until it is done, nobody knows of this generation.
  AdapterLease adapter = std::make_shared<const Adapter>(ref, info, weights, backend_);

  AdapterLease replaced;  // its memory, where this was the last lease, goes outside the lock
  absl::MutexLock lock(&mutex_);
  absl::erase_if(generations_, [](const auto& entry) { return entry.second.expired(); });
  generations_.emplace(Key(ref), adapter);
  Entry& entry = names_[info.name];
  // Of two publications at once, the later number stays, whichever is ready first.
  if (entry.newest == nullptr || entry.newest->ref().generation < ref.generation) {
    replaced = std::exchange(entry.newest, std::move(adapter));
  }
  return info;
}

absl::StatusOr<AdapterInfo> AdapterStore::Publish(const std::string& name, const AdapterWeights& weights,
                                                  const std::string& path, const std::string& job_id) {
  RETURN_IF_ERROR(CheckAdapterName(name));
  ASSIGN_OR_RETURN(const AdapterRef ref, TakeGeneration(name, std::nullopt));
  return Install(ref, {.name = name, .path = path, .job_id = job_id}, weights);
}

absl::StatusOr<AdapterInfo> AdapterStore::Load(const std::string& name, const std::string& path) {
  RETURN_IF_ERROR(CheckAdapterName(name));
  ASSIGN_OR_RETURN(const AdapterWeights weights, ReadPeftAdapter(path, shapes_));
  return Publish(name, weights, path, /*job_id=*/"");
}

absl::StatusOr<AdapterInfo> AdapterStore::Restore(const std::string& name, const std::string& path, int generation) {
  RETURN_IF_ERROR(CheckAdapterName(name));
  ASSIGN_OR_RETURN(const AdapterWeights weights, ReadPeftAdapter(path, shapes_));
  ASSIGN_OR_RETURN(const AdapterRef ref, TakeGeneration(name, generation));
  return Install(ref, {.name = name, .path = path}, weights);
}

absl::Status AdapterStore::Unload(const std::string& name) {
  AdapterLease unloaded;
  absl::MutexLock lock(&mutex_);
  const auto found = names_.find(name);
  if (found == names_.end() || found->second.newest == nullptr) return NoAdapter(name, LoadedNames());
  unloaded = std::move(found->second.newest);
  return absl::OkStatus();
}

std::vector<AdapterInfo> AdapterStore::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<AdapterInfo> infos;
  for (const std::string& name : LoadedNames()) infos.push_back(names_.at(name).newest->info());
  return infos;
}

absl::StatusOr<AdapterLease> AdapterStore::Acquire(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  const auto found = names_.find(name);
  if (found == names_.end() || found->second.newest == nullptr) return NoAdapter(name, LoadedNames());
  return found->second.newest;
}

AdapterRef AdapterStore::AddWorkingCopy(const AdapterWeights& weights) {
  AdapterRef ref;
  {
    absl::MutexLock lock(&mutex_);
    ref.id = ++last_id_;
  }
  auto copy = std::make_shared<Adapter>(ref, AdapterInfo(), weights, backend_);
  absl::MutexLock lock(&mutex_);
  working_copies_.emplace(ref.id, std::move(copy));
  return ref;
}

void AdapterStore::UpdateWorkingCopy(AdapterRef ref, std::span<const BypassViews> pairs) {
  std::shared_ptr<Adapter> copy;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = working_copies_.find(ref.id);
    CHECK(found != working_copies_.end()) << "no working copy " << ref.id;
    copy = found->second;
  }
  copy->Update(pairs, backend_);
}

void AdapterStore::RemoveWorkingCopy(AdapterRef ref) {
  std::shared_ptr<Adapter> copy;  // its memory goes outside the lock
  absl::MutexLock lock(&mutex_);
  const auto found = working_copies_.find(ref.id);
  CHECK(found != working_copies_.end()) << "no working copy " << ref.id;
  copy = std::move(found->second);
  working_copies_.erase(found);
}

const Adapter* AdapterStore::Find(AdapterRef ref) const {
  if (ref.is_base()) return nullptr;
  absl::MutexLock lock(&mutex_);
  if (const auto copy = working_copies_.find(ref.id); copy != working_copies_.end()) return copy->second.get();
  const auto generation = generations_.find(Key(ref));
  return generation == generations_.end() ? nullptr : generation->second.lock().get();
}

std::vector<std::string> AdapterStore::LoadedNames() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : names_) {
    if (entry.newest != nullptr) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace tandem
