"""The parts of tools/gpu/check, in their order: correctness, then figures."""
import json
import pathlib
import re
import shutil

from run import Failed, Part, Skipped, cublas_directories, each

TESTS = ["ops_test_cuda", "cuda_device_test"]
PROGRAMS = TESTS + ["ops_benchmark", "engine_benchmark", "tandemd", "tandem", "make_random_model"]
EMULATED_TESTS = ["cuda_emulation_test", "cuda_runtime_test", "attention_kernels_test", "ops_test_cuda_emulated",
                  "cuda_end_to_end_test"]


# --- correctness ---------------------------------------------------------------------------------------------------------

def machine(context):
    query = "name,driver_version,memory.total,compute_cap,mig.mode.current,clocks.max.sm,power.limit"
    line = context.run("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader").strip().splitlines()[0]
    directories = cublas_directories()
    if not directories:
        raise Failed("no libcublasLt.so here, which is not carried: install CUDA 13, or python3 -m pip install nvidia-cublas")
    return dict(zip(query.split(","), [field.strip() for field in line.split(",")])) | {"cublasLt": str(directories[0])}


def build(context):
    if all((context.binaries / name).exists() for name in PROGRAMS):
        raise Skipped(f"all programs are in {context.binaries}")
    if not shutil.which("nvcc") and not pathlib.Path("/usr/local/cuda/bin/nvcc").exists():
        raise Failed("programs are missing and so is nvcc: carry them (--package, --bin)")
    context.run("tools/build", "release", *PROGRAMS)


def google_test(context, program, *arguments, **options):
    """Runs it; the number of tests that passed. A test that was skipped for want of a device is a failure here."""
    output = context.run(*options.pop("under", []), context.program(program), "--gtest_brief=1", *arguments, **options)
    if found := re.search(r"for Cuda|\[  SKIPPED \] (\d+) tests", output):
        if "no device" in output:
            raise Failed(f"{program} found no device: {found.group(0)}")
    passed = re.search(r"\[  PASSED  \] (\d+) test", output)
    if not passed or int(passed.group(1)) == 0:
        raise Failed(f"{program} ran no test")
    return int(passed.group(1))


def operations(context):
    program = "ops_test_cuda_emulated" if context.emulated else "ops_test_cuda"
    return {"tests": google_test(context, program, "--gtest_filter=Backends/*")}


def end_to_end(context):
    if context.emulated:  # what that is fast enough for
        return {"tests": google_test(context, "cuda_end_to_end_test",
                                     "--gtest_filter=CudaEngineTest.*:LostDeviceTest.*:*ShortPrompt*:*OneSample*qv_rank4:*OneSample*adapters_*")}
    return {"tests": google_test(context, "cuda_device_test")}


def emulator(context):
    return {"tests": google_test(context, "cuda_emulation_test") + google_test(context, "cuda_runtime_test")}


def kernels(context):
    return {"tests": google_test(context, "attention_kernels_test")}


def registers(context):
    objects = context.binaries.parent / "kernels"
    if not list(objects.rglob("*.ptxas")):
        raise Skipped(f"no kernels were compiled by nvcc under {objects}")
    output = context.run("python3", "tests/lint/spills.py", objects)
    return {"kernels": int(re.search(r"spills: (\d+) kernels", output).group(1))}


def sanitizer(context):
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not pathlib.Path(tool).exists():
        raise Skipped("no compute-sanitizer here (it comes with CUDA's toolkit)")

    def run(check):
        under = [tool, "--tool", check, "--error-exitcode", "9"]
        return {check: google_test(context, "ops_test_cuda", "--gtest_filter=Backends/*MatchesReference*", under=under,
                                   limit_s=context.part.limit_s // 3)}
    return each(("memcheck", "racecheck", "synccheck"), run)


# --- figures -------------------------------------------------------------------------------------------------------------

def ops_figures(context):
    path = context.out / "ops.json"
    path.unlink(missing_ok=True)
    try:
        context.run(context.program("ops_benchmark"), "--device=cuda", f"--benchmark_out={path}",
                    "--benchmark_out_format=json")
    except Failed as failed:
        raise Failed(str(failed), ops_shares(path)) from None
    return ops_shares(path)


def ops_shares(path):
    """By operation, as far as the benchmark came."""
    try:
        text = path.read_text()
        path.write_text(text if text.rstrip().endswith("]\n}") else text[:text.rindex("\n    }") + 6] + "\n  ]\n}\n")
        report = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    figures = {name: float(report["context"][name]) for name in ("peak GFLOP/s", "stream GB/s")}
    for run in report["benchmarks"]:
        name = run["name"].split("/iterations:")[0]
        share = max((run["peak_%"], "% of peak"), (run["stream_%"], "% of copy"))
        figures[name] = f"{run['best_us']:.1f} us, {share[0]:.0f} {share[1]}"
    return figures


def ops_torch(context):
    ours = context.out / "ops.json"
    if not ours.exists():
        raise Skipped("ops_figures has written no shapes")
    needs_python(context, "torch")
    path = context.out / "ops_torch.json"
    context.run("python3", "tools/gpu/torch_ops.py", "--like", ours, "--out", path)
    return {run["name"]: f"torch {run['torch_us']:.1f} us, ours {run['ours_us']:.1f} us: {run['torch_us'] / run['ours_us']:.2f} x"
            for run in json.loads(path.read_text())["runs"]}


def needs_python(context, *modules):
    try:
        context.run("python3", "-c", f"import {', '.join(modules)}", limit_s=120)
    except Failed as failed:
        raise Skipped(f"python3 has no {' or no '.join(modules)}") from failed


def model_of(context):
    path = context.model or context.scratch / "8b"
    if not (path / "config.json").exists():
        raise Skipped(f"there is no model in {path}; the part model_8b writes it")
    return path


def model_8b(context):
    if context.model or (context.scratch / "8b/config.json").exists():
        raise Skipped("there already")
    context.run(context.program("make_random_model"), context.scratch / "8b", "--shape", "8b", "--dtype", "bf16")


def engine_figures(context):
    # One at a time: KV for 256 sequences, scratch for 8192 rows and a tape of 4096 tokens do not fit into 80 GB together.
    workloads = {"decode": "decode1,decode8,decode64,decode256", "prefill": "prefill2048,prefill8192",
                 "train": "train2048,train4096"}

    def run(kind):
        path = context.out / f"engine_{kind}.json"
        context.run(context.program("engine_benchmark"), model_of(context), "--device", "cuda", "--only", workloads[kind],
                    "--window", 1024, "--decode-position", 1023, "--json", path, limit_s=context.part.limit_s // 3)
        return {run["workload"]: f"{run['tokens_per_second']['median']:.0f} tokens/s, "
                                 f"{100 * run['share']:.0f} % {run['share_of']}"
                for run in json.loads(path.read_text())["results"]}
    return each(workloads, run)


CUDA_DAEMON = ["--set", "backend=cuda", "--set", "engine.max_batch_rows=2048", "--set", "scheduler.max_prefill_rows=1536",
               "--set", "kv.capacity_tokens=393216", "--set", "engine.max_running_requests=256"]


def daemon_decode(context):
    out = context.out / "decode"
    context.run("python3", "tools/bench_coserve", "--bin", context.binaries, "--model", model_of(context), "--ttft", 2000,
                "--tpot", 25, "--streams", "1,8,64,256", "--prompt-tokens", 1024, "--output-tokens", 128, "--policies",
                "inference_only", "--seconds", 20, "--warm-up", 5, *CUDA_DAEMON, "--out", out)
    loads = json.loads((out / "results.json").read_text())["loads"]
    return {load: f"{runs['inference_only']['generated_per_s']:.0f} tokens/s, TPOT p99 "
                  f"{runs['inference_only']['tpot_ms']['p99']:.1f} ms" for load, runs in loads.items()}


def coserve(context):
    out = context.out / "coserve"
    context.run("python3", "tools/bench_coserve", "--bin", context.binaries, "--model", model_of(context), "--ttft", 1000,
                "--tpot", 25, "--rate", "5,15", "--prompt-tokens", 512, "--output-tokens", 128, "--policies",
                "training_only,inference_only,coserving", "--seconds", 40, "--warm-up", 10, "--window", 1024, *CUDA_DAEMON,
                "--out", out)
    results = json.loads((out / "results.json").read_text())
    figures = {"training alone": f"{results['alone']['training_only']:.0f} tokens/s"}
    for load, runs in results["loads"].items():
        for policy, run in runs.items():
            figures[f"{load}, {policy}"] = (f"{run['trained_per_s']:.0f} trained/s, TPOT p99 "
                                                     f"{run['tpot_ms']['p99']:.1f} ms, SLO {100 * run['attainment']:.0f} %")
    return figures


def hugging_face(context):
    needs_python(context, "torch", "transformers", "peft")
    path = context.out / "hugging_face.json"
    context.run("python3", "tools/gpu/hf_baseline.py", model_of(context), "--out", path)
    return {run["workload"]: f"{run['tokens_per_second']:.0f} tokens/s" for run in json.loads(path.read_text())["runs"]}


ALL = [
    Part("machine", 60, "the GPU, its driver, cuBLASLt", machine),
    Part("build", 3600, "compiles the programs where nvcc is and they are missing", build),
    Part("registers", 60, "no kernel spills", registers),
    Part("operations", 300, "every operation against the double-precision reference, poisoned and guarded", operations),
    Part("end_to_end", 300, "model and training goldens, co-serving's invariants", end_to_end),
    Part("ops_figures", 300, "each operation's share of a large product and of a copy, measured in the same run", ops_figures),
    Part("ops_torch", 240, "the same shapes in torch", ops_torch),
    Part("model_8b", 300, "writes random weights of Llama 3.1 8B's shape", model_8b),
    Part("engine_figures", 540, "decode, prefill and LoRA training of the 8B shape", engine_figures),
    Part("coserve", 540, "tandemd: 5 and 15 requests/s beside fine-tuning", coserve),
    Part("daemon_decode", 300, "tandemd: 1, 8, 64 and 256 requests at a time", daemon_decode),
    Part("hugging_face", 540, "transformers and peft on the same card", hugging_face),
    Part("sanitizer", 1800, "compute-sanitizer over the operations' small shapes", sanitizer),
]

EMULATED = [
    Part("emulator", 60, "the emulated device finds what it must find; the CUDA backend's runtime on it", emulator),
    Part("registers", 60, "no kernel spills, where nvcc has compiled them", registers),
    Part("kernels", 120, "kernels one by one", kernels),
    Part("operations", 300, "every operation against the double-precision reference, poisoned and guarded", operations),
    Part("end_to_end", 300, "model and training goldens, co-serving's invariants", end_to_end),
]
