#!/usr/bin/env python3
"""Checks the direction of includes: a folder sees itself and those before it, siblings do not see each other.

usage: layers.py SOURCE_ROOT
"""
import pathlib
import re
import sys

# From src/README.md. Folders of one inner list are siblings.
LAYERS = [
    ["base"],
    ["tensor"],
    ["backend"],
    ["ops"],
    ["tokenizer", "kv", "store", "quant", "grammar"],
    ["adapter"],  # model may see adapter, adapter never sees model
    ["model"],
    ["sched", "inference", "training", "parallel"],
    ["engine", "sim"],
    ["planner", "cluster"],
    ["serve"],
    ["daemon", "cli"],
]
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}
CLI_SEES = {"cli", "base"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def problem(folder: str, included: str) -> str | None:
    """Why a file of `folder` may not include a header of `included`, or None."""
    if included == folder:
        return None
    if included not in LEVEL:
        return None  # tandem/ (the seams), generated protos, Highway
    if folder == "cli" and included not in CLI_SEES:
        return "cli sees proto and base only"
    if LEVEL[included] > LEVEL[folder]:
        return f"{included} lies above {folder}"
    if LEVEL[included] == LEVEL[folder]:
        return f"{included} and {folder} are siblings"
    return None


def kernels_problem(path: pathlib.PurePath, included: str, exists) -> str | None:
    """kernels/ is a library of its own, and one folder calls it. `exists`: whether a path under the root is a file."""
    if path.parts[0] == "kernels":
        inside = exists(path.parent / included) or (included.startswith("kernels/") and exists(pathlib.PurePath(included)))
        return None if inside else "kernels/ sees itself and CUDA only"
    if included.startswith("kernels/") and path.parts[:3] != ("src", "backend", "cuda"):
        return "only src/backend/cuda sees kernels/"
    return None


CUDA_SWITCH = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\bTANDEM_CUDA\b")
CUDA_SWITCH_FILE = "src/backend/factory.cc"


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    failures, files = [], 0
    for top in ("src", "include/tandem", "kernels"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in {".h", ".cc", ".cu"}:
                continue
            files += 1
            relative = path.relative_to(root)
            folder = path.relative_to(root / "src").parts[0] if top == "src" else None
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if CUDA_SWITCH.match(line) and str(relative) != CUDA_SWITCH_FILE:
                    failures.append(f"{relative}:{number}: asks for TANDEM_CUDA: only {CUDA_SWITCH_FILE} may")
                match = INCLUDE.match(line)
                if not match:
                    continue
                included = match.group(1).split("/")[0]
                if reason := kernels_problem(relative, match.group(1), lambda p: (root / p).is_file()):
                    pass
                elif top == "kernels":
                    reason = None
                elif folder is None:
                    reason = "a seam includes seams only" if included in LEVEL else None
                else:
                    reason = problem(folder, included)
                if reason:
                    failures.append(f"{relative}:{number}: includes {match.group(1)}: {reason}")
    print("\n".join(failures) or f"layers: {files} files, no include against the direction")
    if files == 0:
        print("layers: no files found")
    return 1 if failures or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
