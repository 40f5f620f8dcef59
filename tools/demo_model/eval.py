"""Measures an exported model on held-out documents: loss, exact answers per kind of question, samples.

An answer is right when greedy decoding gives it word for word, up to and including <|end|>,
after the true conversation so far. One forward pass tells: greedy decoding gives the
answer exactly if every token of it is the most likely one after the true tokens before it.
"""

import argparse
import collections
import json
import math
import os
import pathlib

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see train.py

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import corpus
import packing

PROMPTS = (
    ["Tell me a story about a fox and a red kite."],
    ["Tell me a short story about a girl named Lily.", "Who is the story about?", "How did Lily feel at the end?"],
    ["tell me a story about sharing", "What did we learn?"],
    ["Tom has a blue ball. Mia has a green cup. Ben is in the garden.\nWhat color is the cup?", "Who has the ball?"],
    ["Hello!", "Who are you?", "What does a cow say?", "What is the opposite of hot?", "Thank you!"],
)


def score(model, tokenizer, seed, documents):
    """Returns mean nats per token over everything and over assistant text, and right/all per question kind."""
    nats = collections.Counter()
    counts = collections.Counter()
    right, asked = collections.Counter(), collections.Counter()
    pools = (d for i in range(documents) for d in corpus.pool(seed, "heldout", i))
    for _, document in zip(range(documents), pools):
        ids, weights = packing.encode(document, tokenizer)
        ids = torch.tensor(ids[: model.config.max_position_embeddings])
        logits = model(ids[None]).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
        told = torch.tensor(weights[1 : len(ids)]) >= 1
        for name, mask in (("all", torch.ones_like(told)), ("assistant", told)):
            nats[name] += losses[mask].sum().item()
            counts[name] += int(mask.sum())
        if isinstance(document, str):
            continue
        hit = logits.argmax(-1) == ids[1:]
        starts = (ids == packing.ASSISTANT).nonzero().flatten().tolist()
        for turn, start in zip((t for t in document if t.role == "assistant"), starts):
            if turn.kind:
                end = start + (ids[start:] == packing.END).nonzero()[0].item()
                asked[turn.kind] += 1
                right[turn.kind] += bool(hit[start:end].all())
    loss = {name: nats[name] / counts[name] for name in nats}
    return loss, counts, {kind: (right[kind], asked[kind]) for kind in sorted(asked)}


def chat(model, tokenizer, prompts, **generation):
    """One conversation; yields (prompt, reply)."""
    messages = []
    for prompt in prompts:
        messages.append({"role": "user", "content": prompt})
        inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        output = model.generate(**inputs, max_new_tokens=300, **generation)[0, inputs["input_ids"].size(1):]
        reply = tokenizer.decode(output, skip_special_tokens=True)
        messages.append({"role": "assistant", "content": reply})
        yield prompt, reply


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--documents", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", action="store_true", help="also print conversations, greedy and sampled")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)

    loss, counts, answers = score(model, tokenizer.backend_tokenizer, args.seed, args.documents)
    for name in loss:
        print(f"held-out loss, {name}: {loss[name]:.4f} nats/token, perplexity {math.exp(loss[name]):.3f}, "
              f"{counts[name]} tokens")
    for source in ("story", "passage", "fact", ""):
        part = [a for kind, a in answers.items() if kind.startswith(source)]
        print(f"{source or 'all'}: {sum(r for r, _ in part)} of {sum(n for _, n in part)} right")
    print(json.dumps({kind: f"{r}/{n}" for kind, (r, n) in answers.items()}, indent=1))
    for name, generation in (("greedy", {"do_sample": False}), ("sampled", {})) if args.samples else ():
        torch.manual_seed(args.seed)
        for prompts in PROMPTS:
            print(f"\n--- {name}")
            for prompt, reply in chat(model, tokenizer, prompts, **generation):
                print(f"user: {prompt}\nassistant: {reply}")


if __name__ == "__main__":
    main()
