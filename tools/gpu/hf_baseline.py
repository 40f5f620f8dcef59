#!/usr/bin/env python3
"""Hugging Face transformers and peft on the GPU, as the baseline beside engine_benchmark: tools/gpu/hf_baseline.py MODEL --out F.

The same workloads: decode of 1, 8, 64, 256 sequences at position 1023, prefill of 2048 and 8192 tokens, a LoRA step (rank
8, q_proj and v_proj, AdamW) on one sequence of 2048 and 4096 tokens. bf16, SDPA attention; gradient checkpointing only
where a step without runs out of memory, and said so.
"""
import argparse
import json
import pathlib
import time

import peft
import torch
import transformers

ROUNDS = 5
# A machine without a GPU runs the script itself, which proves no more than that it runs.
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def device_name():
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def median_seconds(run):
    times = []
    for round_number in range(ROUNDS + 1):
        wait()
        start = time.perf_counter()
        run()
        wait()
        if round_number > 0:
            times.append(time.perf_counter() - start)
    return sorted(times)[ROUNDS // 2]


def ids(model, *shape):
    return torch.randint(0, model.config.vocab_size, shape, device=DEVICE)


@torch.inference_mode()
def decode(model, sequences, position):
    cache = model(ids(model, sequences, position), use_cache=True, logits_to_keep=1).past_key_values
    token = ids(model, sequences, 1)

    def step():
        model(token, past_key_values=cache, use_cache=True)
        cache.crop(-1)  # the next round decodes at the same place
    return sequences / median_seconds(step)


@torch.inference_mode()
def prefill(model, tokens):
    prompt = ids(model, 1, tokens)
    return tokens / median_seconds(lambda: model(prompt, use_cache=True, logits_to_keep=1))


def train(model, optimizer, tokens):
    text = ids(model, 1, tokens)

    def step():
        model(text, labels=text, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return tokens / median_seconds(step)


def train_lora(model, sizes, record):
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    model = peft.get_peft_model(model, config)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for tokens in sizes:
        try:
            record(f"train{tokens}", train(model, optimizer, tokens))
        except torch.cuda.OutOfMemoryError:
            optimizer.zero_grad()
            torch.cuda.empty_cache()
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable()
            record(f"train{tokens}, with gradient checkpointing", train(model, optimizer, tokens))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--decode", default="1,8,64,256")
    parser.add_argument("--position", type=int, default=1023)
    parser.add_argument("--prefill", default="2048,8192")
    parser.add_argument("--train", default="2048,4096")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    sizes = {name: [int(size) for size in getattr(args, name).split(",") if size] for name in ("decode", "prefill", "train")}
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16, attn_implementation="sdpa",
                                                              device_map=DEVICE)
    runs = []

    def record(name, tokens_per_second):
        runs.append({"workload": name, "tokens_per_second": tokens_per_second})
        print(f"{name:<40} {tokens_per_second:10.1f} tokens/s", flush=True)
        report = {"device": device_name(), "torch": torch.__version__, "peft": peft.__version__,
                  "transformers": transformers.__version__, "runs": runs}
        args.out.write_text(json.dumps(report, indent=1) + "\n")  # what there is, should a later size fail

    for sequences in sizes["decode"]:
        record(f"decode{sequences}", decode(model, sequences, args.position))
    for tokens in sizes["prefill"]:
        record(f"prefill{tokens}", prefill(model, tokens))
    train_lora(model, sizes["train"], record)


if __name__ == "__main__":
    main()
