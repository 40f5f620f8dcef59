#!/usr/bin/env python3
"""Checks that every C++ file is as clang-format leaves it. usage: format.py SOURCE_ROOT CLANG_FORMAT"""
import pathlib
import subprocess
import sys


def main() -> int:
    root, clang_format = pathlib.Path(sys.argv[1]), sys.argv[2]
    files = [
        str(path)
        for top in ("src", "include", "tests", "benchmarks", "kernels")
        for path in sorted((root / top).rglob("*"))
        if path.suffix in {".h", ".cc", ".cu", ".cuh"}
    ]
    result = subprocess.run([clang_format, "--dry-run", "--Werror", *files], capture_output=True, text=True)
    print(result.stderr or f"format: {len(files)} files")
    return result.returncode or not files


if __name__ == "__main__":
    sys.exit(main())
