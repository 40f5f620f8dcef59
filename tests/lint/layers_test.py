#!/usr/bin/env python3
"""The lint itself can fail: a wrong include of each kind is found."""
import layers

assert layers.problem("sched", "kv") is None
assert layers.problem("model", "adapter") is None
assert layers.problem("cli", "base") is None
for folder, included in [("kv", "sched"), ("adapter", "model"), ("inference", "training"), ("cli", "engine"),
                         ("serve", "daemon"), ("base", "tensor")]:
    assert layers.problem(folder, included), (folder, included)
print("layers_test: ok")
