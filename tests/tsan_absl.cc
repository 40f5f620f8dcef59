// Tells ThreadSanitizer of absl's locks. The system's absl is a shared library that was built without it, so what one
// thread hands to another through an absl::Mutex or a Notification would look like a race. The functions that Tandem
// calls are therefore defined here again, in the tests' own objects, which the dynamic linker finds first: each is the
// library's own between an acquire and a release on the lock's address.
//
// Conditions of Await are also evaluated by other threads, inside the library and under the lock: what they read is
// passed over.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>
#include <string>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

#define TANDEM_TEXT_INNER(name) #name
#define TANDEM_TEXT(name) TANDEM_TEXT_INNER(name)

// The library's function behind the one of this file. `rest` is the mangled name within namespace absl.
template <typename Function>
Function Real(const char* rest) {
  const std::string inline_namespace = TANDEM_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  const std::string name = std::to_string(inline_namespace.size()) + inline_namespace + rest;
  for (const char* kind : {"_ZN4absl", "_ZNK4absl"}) {
    if (void* const found = dlsym(RTLD_NEXT, (kind + name).c_str())) return reinterpret_cast<Function>(found);
  }
  std::abort();
}

// While the library's code runs.
class Uninstrumented {
 public:
  Uninstrumented() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~Uninstrumented() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

// What HasBeenNotified, which is inline and so instrumented, acquires.
void* Notified(const absl::Notification* notification) {
  return reinterpret_cast<char*>(const_cast<absl::Notification*>(notification)) + sizeof(absl::Mutex);
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static const auto real = Real<void (*)(Mutex*)>("5Mutex4LockEv");
  {
    const Uninstrumented scope;
    real(this);
  }
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  static const auto real = Real<void (*)(Mutex*)>("5Mutex6UnlockEv");
  __tsan_release(this);
  const Uninstrumented scope;
  real(this);
}

void Mutex::Await(const Condition& condition) {
  static const auto real = Real<void (*)(Mutex*, const Condition&)>("5Mutex5AwaitERKNS0_9ConditionE");
  __tsan_release(this);
  {
    const Uninstrumented scope;
    real(this, condition);
  }
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static const auto real =
      Real<bool (*)(Mutex*, const Condition&, Duration)>("5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  __tsan_release(this);
  bool met = false;
  {
    const Uninstrumented scope;
    met = real(this, condition, timeout);
  }
  __tsan_acquire(this);
  return met;
}

void Notification::Notify() {
  static const auto real = Real<void (*)(Notification*)>("12Notification6NotifyEv");
  __tsan_release(Notified(this));
  const Uninstrumented scope;
  real(this);
}

void Notification::WaitForNotification() const {
  static const auto real = Real<void (*)(const Notification*)>("12Notification19WaitForNotificationEv");
  {
    const Uninstrumented scope;
    real(this);
  }
  __tsan_acquire(Notified(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static const auto real =
      Real<bool (*)(const Notification*, Duration)>("12Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  bool notified = false;
  {
    const Uninstrumented scope;
    notified = real(this, timeout);
  }
  if (notified) __tsan_acquire(Notified(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
