#!/usr/bin/env python3
"""Times torch on the shapes that ops_benchmark was run on, on the same GPU: tools/gpu/torch_ops.py --like ops.json --out F.

As ops_benchmark does: operands rotate through more memory than the cache holds, calls are queued, and the fastest of
some rounds counts. Operations without a counterpart in torch are left out.
"""
import argparse
import json
import pathlib
import time

import torch
from torch.nn import functional

COLD_BYTES = 192e6
QUEUED, ROUNDS = 20, 10
# A machine without a GPU runs the script itself, which proves no more than that it runs.
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def device_name():
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def random(*shape):
    return torch.rand(*shape, device=DEVICE).mul_(2).sub_(1).to(torch.bfloat16)


def fields(name):
    """("linear", {"m": 1, "n": 2048, ...}) of "linear/bf16/m:1/n:2048/k:2048"."""
    op, *rest = name.split("/")
    return op, dict(part.split(":", 1) for part in rest if ":" in part)


def backward(function, *inputs):
    leaves = [tensor.requires_grad_() for tensor in inputs]
    y = function(*leaves)
    dy = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, leaves[0], dy, retain_graph=True)


def attention(size):
    heads, head_dim = size["heads"].split("x")
    query_heads, kv_heads = map(int, heads.split(":"))
    rows, context = int(size["m"]), int(size["context"])
    # DeviceSpeedCases has whole prompts, and decodes of sequences that are equally long.
    causal = rows == context
    sequences, each = (1, context) if causal else (rows, context // rows)
    q = random(sequences, query_heads, rows // sequences, int(head_dim))
    k, v = (random(sequences, kv_heads, each, int(head_dim)) for _ in range(2))
    return lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True), (q, k, v)


def prepare(op, size):
    """A call with operands of its own, or None where torch has no such operation."""
    m, n, k = (int(size.get(letter, 0)) for letter in "mnk")
    if op == "linear":
        x, w = random(m, k), random(n, k)
        return lambda: functional.linear(x, w)
    if op == "linear_backward_input":
        dy, w = random(m, n), random(n, k)
        return lambda: dy @ w
    if op == "embedding":
        ids, table = torch.arange(m, device=DEVICE) * 7919 % n, random(n, k)
        return lambda: functional.embedding(ids, table)
    if op in ("rms_norm", "rms_norm_backward", "layer_norm", "layer_norm_backward"):
        x, weight = random(m, k), random(k)
        norm = ((lambda x: functional.rms_norm(x, (k,), weight, 1e-5)) if op.startswith("rms")
                else (lambda x: functional.layer_norm(x, (k,), weight, weight, 1e-5)))
        return backward(norm, x) if op.endswith("backward") else lambda: norm(x)
    if op in ("activate_mul", "activate_mul_backward"):
        def gated(gate, up):
            return functional.silu(gate) * up
        gate, up = random(m, k), random(m, k)
        return backward(gated, gate, up) if op.endswith("backward") else lambda: gated(gate, up)
    if op == "add":
        x, y = random(m, k), random(m, k)
        return lambda: y.add_(x)
    if op == "attention":
        call, operands = attention(size)
        return lambda: call(*operands)
    if op == "attention_backward":
        call, operands = attention(size)
        return backward(call, *operands)
    if op == "linear_cross_entropy":
        x, w, labels = random(m, k), random(n, k), torch.arange(m, device=DEVICE) % n
        def step():
            leaf = x.detach().requires_grad_()
            loss = functional.cross_entropy(functional.linear(leaf, w).float(), labels, reduction="sum")
            return torch.autograd.grad(loss, leaf)
        return step
    return None


def seconds(op, size, bytes_of_one):
    copies = max(1, min(32, int(COLD_BYTES / max(bytes_of_one, 1))))
    calls = [prepare(op, size) for _ in range(copies)]
    if calls[0] is None:
        return None
    best, next_call = float("inf"), 0
    for round_number in range(ROUNDS + 1):
        wait()
        start = time.perf_counter()
        for _ in range(QUEUED):
            calls[next_call % copies]()
            next_call += 1
        wait()
        if round_number > 0:  # the first one compiles and allocates
            best = min(best, (time.perf_counter() - start) / QUEUED)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--like", type=pathlib.Path, required=True, help="ops_benchmark's JSON")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    runs = []
    for ours in json.loads(args.like.read_text())["benchmarks"]:
        name = ours["name"].split("/iterations:")[0]
        op, size = fields(name)
        moved = ours["GB/s"] * 1e9 * ours["best_us"] * 1e-6
        took = seconds(op, size, moved)
        if took is None:
            continue
        runs.append({"name": name, "torch_us": took * 1e6, "ours_us": ours["best_us"]})
        print(f"{name:<60} torch {took * 1e6:9.1f} us   ours {ours['best_us']:9.1f} us", flush=True)
    args.out.write_text(json.dumps({"torch": torch.__version__, "device": device_name(), "runs": runs}, indent=1)
                        + "\n")


if __name__ == "__main__":
    main()
