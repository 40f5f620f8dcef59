"""Trains the demo model and exports it. Stops and resumes anywhere; see README.md.

The schedule is warm-up, constant, linear decay (WSD), so --steps may change on resume
as long as the decay has not begun.
"""

import argparse
import json
import os
import pathlib
import time

# Read when torch loads. Threads that spin at barriers lose most of a CPU that others use too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import tokenizers
import torch

import build_tokenizer
import packing
from export import export
from model import batch_loss, make_model
from muon import Muon


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="tokenizer, checkpoint and log go here")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the exported model")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch-tokens", type=int, default=3072, help="16384 or more suits a GPU")
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--decay", type=float, default=0.35, help="share of the steps in which the rate falls to zero")
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def rate(step, args):
    """The factor on both learning rates."""
    left = (args.steps - step) / (args.decay * args.steps)
    return min(1.0, (step + 1) / args.warmup, left)


def make_optimizers(model, args):
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    # The large eps keeps tokens that hardly occur in place. Their tiny gradients all point the same
    # way, and a step of full size along them would make the tokens alike.
    adam = torch.optim.AdamW(rest, lr=args.adam_lr, betas=(0.9, 0.98), eps=3e-5, weight_decay=0.0, fused=True)
    return Muon(matrices, lr=args.muon_lr), adam


def load_tokenizer(existing, seed):
    """The tokenizer of an earlier export is kept, so that token ids never change under its users."""
    return tokenizers.Tokenizer.from_file(str(existing)) if existing.exists() else build_tokenizer.train(seed)


def batches(tokenizer, args, pool, at):
    """Endless (pool, index in the pool, batch), from the given place on."""
    while True:
        ready = packing.pool_batches(tokenizer, args.seed, "train", pool, args.batch_tokens)
        for i in range(at, len(ready)):
            yield pool, i, ready[i]
        pool, at = pool + 1, 0


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = torch.autocast(device, torch.bfloat16)

    tokenizer = load_tokenizer(args.out / "tokenizer.json", args.seed)
    tokenizer_dir = args.work / "tokenizer"
    build_tokenizer.save(tokenizer, tokenizer_dir)

    model = make_model([tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]).to(device)
    optimizers = make_optimizers(model, args)
    progress = {"step": 0, "pool": 0, "at": 0, "tokens": 0, "seconds": 0.0}
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        progress = state["progress"]

    started = time.monotonic() - progress["seconds"]
    stream = batches(tokenizer, args, progress["pool"], progress["at"])
    while progress["step"] < args.steps:
        pool, at, batch = next(stream)
        batch = [tensor.to(device) for tensor in batch]
        with precision:
            loss = batch_loss(model.model, model.lm_head.weight, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        factor = rate(progress["step"], args)
        for optimizer, lr in zip(optimizers, (args.muon_lr, args.adam_lr)):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
            optimizer.step()
            optimizer.zero_grad()
        progress = {"step": progress["step"] + 1, "pool": pool, "at": at + 1,
                    "tokens": progress["tokens"] + int((batch[3] > 0).sum()),
                    "seconds": round(time.monotonic() - started, 1)}
        if progress["step"] % 10 == 0:
            print(json.dumps(progress | {"loss": round(loss.item(), 4), "rate": round(factor, 3)}), flush=True)
        if progress["step"] % args.save_every == 0 or progress["step"] == args.steps:
            state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "progress": progress}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
            export(model, tokenizer_dir, args.out)


if __name__ == "__main__":
    main()
