#!/usr/bin/env python3
"""Checks what ptxas said of the kernels when they were compiled: none spills registers or keeps variables in local
memory. Prints a table of registers and static shared memory.

usage: spills.py DIRECTORY_OF_OBJECTS     (tools/gpu/nvcc_logged wrote OBJECT.ptxas beside each)
"""
import pathlib
import re
import shutil
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def read(text: str) -> list[dict]:
    """One dict for each kernel and architecture of a log."""
    kernels = []
    for line in text.splitlines():
        if found := ENTRY.search(line):
            kernels.append({"name": found.group(1), "arch": found.group(2), "registers": None, "frame": None})
        elif kernels and (found := FRAME.search(line)) and kernels[-1]["frame"] is None:
            kernels[-1] |= {"frame": int(found.group(1)), "spills": int(found.group(2)) + int(found.group(3))}
        elif kernels and (found := USED.search(line)) and kernels[-1]["registers"] is None:
            shared = SHARED.search(line)
            kernels[-1] |= {"registers": int(found.group(1)), "shared": int(shared.group(1)) if shared else 0}
    return kernels


def problem(kernel: dict) -> str | None:
    """Why this kernel may not be like this, or None."""
    if kernel["frame"] is None or kernel["registers"] is None:
        return "the log does not say what it uses"
    if kernel["spills"] > 0:
        return f"spills {kernel['spills']} bytes"
    if kernel["frame"] > 0:
        return f"keeps {kernel['frame']} bytes in local memory"
    return None


def demangled(names: list[str]) -> list[str]:
    if not shutil.which("c++filt"):
        return names
    text = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True).stdout
    return [name.replace("tandem::kernels::", "").replace("(anonymous namespace)::", "") for name in text.splitlines()]


def main() -> int:
    logs = sorted(pathlib.Path(sys.argv[1]).rglob("*.ptxas"))
    kernels = [kernel for log in logs for kernel in read(log.read_text())]
    if not kernels:
        print(f"spills: no kernel in {len(logs)} logs under {sys.argv[1]}: are the kernels built?")
        return 1
    failures = 0
    print(f"{'registers':>9} {'shared':>7} {'frame':>6} {'spills':>6}  arch     kernel")
    for kernel, name in zip(kernels, demangled([kernel["name"] for kernel in kernels])):
        reason = problem(kernel)
        failures += reason is not None
        columns = [kernel.get(key) for key in ("registers", "shared", "frame", "spills")]
        print("{!s:>9} {!s:>7} {!s:>6} {!s:>6}  ".format(*columns) + f"{kernel['arch']:<8} {name}"
              + (f"   <- {reason}" if reason else ""))
    print(f"spills: {len(kernels)} kernels of {len(logs)} files, {failures} that may not be like this")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
