"""tools/gpu/check --package: one file with all that a machine with a GPU and its driver needs to run it, but cuBLASLt."""
import lzma
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

NAME = "tandem-gpu-check"
MOST_BYTES = 64 << 20  # what can be carried at once
# Of the machine itself, whatever it is: the C library must fit its kernel and loader.
SYSTEM = re.compile(r"^(ld-linux.*|libc|libm|libdl|librt|libpthread)\.so")
# Too large to carry; check finds it on the machine.
LEFT_OUT = re.compile(r"^libcublas")
# What check and the tests read, by their places in the sources.
SOURCES = ["LICENSE", "configs", "models/demo", "tests/golden", "tests/training/golden", "tests/lint/spills.py", "tools"]
# The programs hold the same kernels: a window that spans them all.
COMPRESSION = [{"id": lzma.FILTER_LZMA2, "preset": 2, "dict_size": 256 << 20}]


def libraries(program):
    """(name, path or None) of all shared libraries that `program` loads."""
    text = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for line in text.splitlines():
        if found := re.match(r"\s*(\S+) => (?:(/\S+)|not found)", line):
            yield found.group(1), found.group(2)


def gather(binaries, programs, scratch):
    """{place in the package: file} of programs and their libraries, and what was left out; or a reason why not."""
    files, left_out = {}, set()
    for name in programs:
        stripped = scratch / name
        subprocess.run(["strip", "-o", stripped, binaries / name], check=True)
        files[f"bin/{name}"] = stripped
        for library, path in libraries(binaries / name):
            if LEFT_OUT.match(library):
                left_out.add(library)
            elif path is None:
                return f"{name} needs {library}, which is not here"
            elif not SYSTEM.match(library):
                files[f"lib/{library}"] = pathlib.Path(path)
    return files, left_out


def make_package(root, binaries, file, programs):
    """Writes `file` (.tar.xz); returns the exit status."""
    missing = [name for name in programs if not (binaries / name).exists()]
    if missing:
        print(f"package: build first: tools/build release {' '.join(missing)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        gathered = gather(binaries, programs, pathlib.Path(scratch))
        if isinstance(gathered, str):
            print(f"package: {gathered}", file=sys.stderr)
            return 1
        files, left_out = gathered
        tracked = subprocess.run(["git", "ls-files", "-z", *SOURCES], cwd=root, check=True, capture_output=True, text=True)
        files |= {name: root / name for name in tracked.stdout.split("\0") if name}
        with lzma.open(file, "wb", filters=COMPRESSION) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            for place, path in sorted(files.items()):
                archive.add(path.resolve(), f"{NAME}/{place}")
    size = file.stat().st_size
    print(f"package: {file}, {size / 2**20:.1f} MiB; not in it: {', '.join(sorted(left_out)) or 'nothing'}\n"
          f"package: there: python3 -m tarfile -e {file.name} && {NAME}/tools/gpu/check")
    if size > MOST_BYTES:
        print(f"package: more than the {MOST_BYTES >> 20} MiB that can be carried at once", file=sys.stderr)
    return 0
