"""What the parts of tools/gpu/check run with: where things are, commands with a time limit and a log."""
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import time


class Skipped(Exception):
    """The part cannot run here; says why."""


class Failed(Exception):
    """The part ran and did not do what it must; says what. `figures`: what it brought all the same."""

    def __init__(self, reason, figures=None):
        super().__init__(reason)
        self.figures = figures or {}


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    limit_s: int
    what: str
    run: object  # Context -> figures by name, or None; raises Skipped or Failed


@dataclasses.dataclass(frozen=True)
class Context:
    root: pathlib.Path
    binaries: pathlib.Path
    out: pathlib.Path
    scratch: pathlib.Path
    emulated: bool
    model: pathlib.Path | None  # of 8B's shape, where there is one already
    env: dict
    deadline: float | None = None  # of all parts together, time.monotonic()
    part: Part | None = None

    def for_part(self, part):
        return dataclasses.replace(self, part=part)

    def seconds_left(self):
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def program(self, name):
        path = self.binaries / name
        if not path.exists():
            raise Failed(f"{path} is missing; build it (tools/build release {name}) or carry it (--package, --bin)")
        return path

    def run(self, *command, limit_s=None, env=None):
        """The command's output, from the root of the sources; also appended to the part's log."""
        log = self.out / f"{self.part.name}.log"
        limit_s = min(limit_s or self.part.limit_s, self.seconds_left())
        if limit_s <= 0:
            raise Failed("no time was left (--minutes)")
        with open(log, "a") as file:
            file.write(f"$ {' '.join(map(str, command))}\n")
            file.flush()
            process = subprocess.Popen([str(word) for word in command], cwd=self.root, env=self.env | (env or {}), text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                output, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its own session: what it started goes with it
                output, _ = process.communicate()
                file.write(output)
                raise Failed(f"{pathlib.Path(command[0]).name} ran longer than {limit_s:.0f} s, see {log}") from None
            file.write(output)
        if process.returncode != 0:
            lines = [line for line in output.strip().splitlines() if line.strip()]
            raise Failed(f"{pathlib.Path(command[0]).name} ended with {process.returncode}: "
                         f"{lines[-1] if lines else 'it said nothing'} (see {log})")
        return output


def each(names, run):
    """run(name) for each, which gives figures; one that fails does not stop the next. All figures."""
    figures, failures = {}, []
    for name in names:
        try:
            figures |= run(name)
        except Failed as failed:
            figures |= failed.figures
            failures.append(f"{name}: {failed}")
    if failures:
        raise Failed("; ".join(failures), figures)
    return figures


def find_device():
    """The name of the first GPU, or None."""
    if not shutil.which("nvidia-smi"):
        return None
    done = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    names = done.stdout.strip().splitlines()
    return names[0].strip() if done.returncode == 0 and names else None


def cublas_directories():
    """Where libcublasLt.so.13 may be: the machine's CUDA, or pip's nvidia-cublas."""
    found = [pathlib.Path(directory) for directory in ("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu")]
    for site in subprocess.run(["python3", "-c", "import site; print('\\n'.join(site.getsitepackages() + [site.getusersitepackages()]))"],
                               capture_output=True, text=True).stdout.split():
        found += sorted(pathlib.Path(site).glob("nvidia/*/lib"))
    return [directory for directory in found if list(directory.glob("libcublasLt.so*"))]


def library_path(binaries):
    carried = [binaries.parent / "lib"] if (binaries.parent / "lib").is_dir() else []
    given = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
    return ":".join(map(str, carried + given + cublas_directories()))
