#!/usr/bin/env python3
"""The lint itself can fail: a wrong include of each kind is found."""
import os
import pathlib

import layers

assert layers.problem("sched", "kv") is None
assert layers.problem("model", "adapter") is None
assert layers.problem("cli", "base") is None
for folder, included in [("kv", "sched"), ("adapter", "model"), ("inference", "training"), ("cli", "engine"),
                         ("serve", "daemon"), ("base", "tensor")]:
    assert layers.problem(folder, included), (folder, included)


def problem_of_kernels(path: str, included: str) -> str | None:
    files = {"kernels/norm.h", "kernels/common/types.h"}
    return layers.kernels_problem(pathlib.PurePath(path), included, lambda p: os.path.normpath(p) in files)


assert problem_of_kernels("kernels/norm.cu", "norm.h") is None
assert problem_of_kernels("kernels/attention/decode.cu", "../common/types.h") is None
assert problem_of_kernels("src/backend/cuda/norm.cc", "kernels/norm.h") is None
for path, included in [("kernels/norm.cu", "tandem/tensor.h"), ("kernels/norm.cu", "base/check.h"),
                       ("src/backend/factory.cc", "kernels/norm.h"), ("src/model/model.cc", "kernels/norm.h")]:
    assert problem_of_kernels(path, included), (path, included)
print("layers_test: ok")
