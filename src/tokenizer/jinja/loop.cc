#include "tokenizer/jinja/loop.h"

#include <limits>
#include <memory>
#include <utility>

#include "base/status.h"

namespace tandem::jinja {
namespace {

// loop.cycle('odd', 'even')
class Cycle : public Callable {
 public:
  explicit Cycle(int64_t index0) : index0_(index0) {}
  absl::StatusOr<Value> Call(const Arguments& arguments, Evaluator*) const override {
    if (arguments.positional.empty()) return TypeError("loop.cycle got no items, want at least 1");
    return arguments.positional[index0_ % arguments.positional.size()];
  }
  std::string name() const override { return "loop.cycle"; }

 private:
  int64_t index0_;
};

// loop.changed(value): is it another one than in the last call?
class Changed : public Callable {
 public:
  explicit Changed(Value::Loop loop) : loop_(std::move(loop)) {}
  absl::StatusOr<Value> Call(const Arguments& arguments, Evaluator* evaluator) const override {
    ASSIGN_OR_RETURN(Value now, evaluator->heap().Tuple(arguments.positional));
    bool same = false;
    if (loop_->last_changed.has_value()) {
      ASSIGN_OR_RETURN(same, EqualValues(now, *loop_->last_changed, &evaluator->heap()));
    }
    loop_->last_changed = std::move(now);
    return Value(!same);
  }
  std::string name() const override { return "loop.changed"; }

 private:
  Value::Loop loop_;
};

constexpr size_t kAll = std::numeric_limits<size_t>::max();

}  // namespace

absl::StatusOr<size_t> LoopContext::LookAhead(size_t count) {
  while (ahead.size() < count && fetch != nullptr) {
    ASSIGN_OR_RETURN(std::optional<Value> item, fetch());
    if (!item.has_value()) {
      fetch = nullptr;
      break;
    }
    ahead.push_back(*std::move(item));
  }
  return ahead.size();
}

absl::StatusOr<bool> LoopContext::Advance() {
  ASSIGN_OR_RETURN(const size_t num_ahead, LookAhead(1));
  if (num_ahead == 0) return false;
  previous = index0 < 0 ? Value::MakeUndefined("there is no previous item") : std::move(current);
  current = std::move(ahead.front());
  ahead.pop_front();
  ++index0;
  return true;
}

absl::StatusOr<std::optional<Value>> LoopAttribute(const Value::Loop& loop, const std::string& name) {
  if (name == "index0") return Value(loop->index0);
  if (name == "index") return Value(loop->index0 + 1);
  if (name == "first") return Value(loop->index0 == 0);
  if (name == "depth") return Value(1);  // of recursive loops, which are not supported
  if (name == "depth0") return Value(0);
  if (name == "previtem") return loop->previous;
  if (name == "cycle") return Value(Value::Function(std::make_shared<Cycle>(loop->index0)));
  if (name == "changed") return Value(Value::Function(std::make_shared<Changed>(loop)));
  if (name == "last" || name == "nextitem") {
    ASSIGN_OR_RETURN(const size_t num_ahead, loop->LookAhead(1));
    if (name == "last") return Value(num_ahead == 0);
    return num_ahead == 0 ? Value::MakeUndefined("there is no next item") : loop->ahead.front();
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    ASSIGN_OR_RETURN(const size_t num_ahead, loop->LookAhead(kAll));
    const int64_t rest = static_cast<int64_t>(num_ahead);
    if (name == "length") return Value(loop->index0 + 1 + rest);
    return Value(name == "revindex" ? rest + 1 : rest);
  }
  return std::nullopt;
}

}  // namespace tandem::jinja
