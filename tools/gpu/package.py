"""tools/gpu/check --package: what a bare machine with a GPU needs to run it."""
import pathlib
import re
import shutil
import subprocess
import sys

MOST_BYTES = 64 << 20  # what can be carried at once
# Of the machine itself, whatever it is: the C library must fit its kernel and loader.
SYSTEM = re.compile(r"^(ld-linux.*|libc|libm|libdl|librt|libpthread)\.so")
# Too large to carry; check finds it on the machine.
LEFT_OUT = re.compile(r"^libcublas")


def libraries(program):
    """(name, path or None) of all shared libraries that `program` loads."""
    text = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for line in text.splitlines():
        if found := re.match(r"\s*(\S+) => (?:(/\S+)|not found)", line):
            yield found.group(1), found.group(2)


def make_package(binaries, directory, programs):
    """Fills `directory` with bin/ and lib/; returns the exit status."""
    missing = [name for name in programs if not (binaries / name).exists()]
    if missing:
        print(f"package: build first: tools/build release {' '.join(missing)}", file=sys.stderr)
        return 1
    for part in ("bin", "lib"):
        shutil.rmtree(directory / part, ignore_errors=True)
        (directory / part).mkdir(parents=True)
    left_out = set()
    for name in programs:
        subprocess.run(["strip", "-o", directory / "bin" / name, binaries / name], check=True)
        for library, path in libraries(binaries / name):
            if LEFT_OUT.match(library):
                left_out.add(library)
            elif path is None:
                print(f"package: {name} needs {library}, which is not here", file=sys.stderr)
                return 1
            elif not SYSTEM.match(library):
                shutil.copy(path, directory / "lib" / library)
    sizes = {part: sum(file.stat().st_size for file in (directory / part).iterdir()) for part in ("bin", "lib")}
    total = sum(sizes.values())
    print(f"package: {directory}: programs {sizes['bin'] / 2**20:.1f} MiB, libraries {sizes['lib'] / 2**20:.1f} MiB; not in it: "
          f"{', '.join(sorted(left_out)) or 'nothing'}")
    if total > MOST_BYTES:
        print(f"package: {total / 2**20:.1f} MiB are more than the {MOST_BYTES / 2**20:.0f} MiB that can be carried at once: "
              "carry bin and lib one by one, or leave programs out with --only on the other side", file=sys.stderr)
    return 0
