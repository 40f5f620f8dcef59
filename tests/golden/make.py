"""Goldens for the C++ tests: tiny random Llama models, their logits and greedy tokens by transformers, and LoRA training
by peft + torch. Deterministic; writes models/, lora/ and manifest.json beside this file. Versions: requirements.txt.

    python tests/golden/make.py
"""

import json
import math
import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # "gqa_untied" is no name on a hub; before transformers and peft are imported

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
VOCAB = 320
SHORT, LONG, GREEDY = 7, 150, 64
LONG_POSITIONS = [0, 1, 2, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 99, 100, 127, 128, 129, 148, 149]

MODELS = {
    "gqa_untied": dict(
        seed=1, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, rms_norm_eps=1e-5,
        tie_word_embeddings=False, dtype=torch.float32),
    "tied_theta": dict(
        seed=2, hidden_size=48, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}, rms_norm_eps=1e-6,
        tie_word_embeddings=True, dtype=torch.float32),
    "mqa_bf16": dict(
        seed=3, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
        head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, rms_norm_eps=1e-5,
        tie_word_embeddings=False, dtype=torch.bfloat16),
}

LORAS = {
    "qv_rank4": dict(seed=11, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "all_rank3": dict(seed=12, r=3, lora_alpha=6, target_modules="all-linear"),
}

TRAINING = dict(
    base="gqa_untied", steps=20, samples_per_step=3, learning_rate=5e-3, warmup_steps=2, schedule="cosine", weight_decay=0.01,
    beta1=0.9, beta2=0.999, epsilon=1e-8, max_grad_norm=1.0)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def tokens(seed, length):
    return torch.randint(3, VOCAB, (length,), generator=generator(seed))


# ---- models ----------------------------------------------------------------------------------------------------------


def randomize(model, seed):
    """Weights wide enough that attention is peaky, no layer is close to the identity and argmaxes are clear-cut."""
    gen = generator(seed)
    scales = {"q_proj": 1.5, "k_proj": 1.5, "v_proj": 1.2, "o_proj": 1.2, "gate_proj": 1.2, "up_proj": 1.2, "down_proj": 1.5,
              "lm_head": 2.0}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=gen)
            if "norm" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif "embed_tokens" in name:
                parameter.copy_(0.4 * noise)
            else:
                kind = name.removesuffix(".weight").split(".")[-1]
                parameter.copy_(scales[kind] * noise / math.sqrt(parameter.shape[1]))


def make_model(name, seed, dtype, **fields):
    config = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, **fields)
    model = LlamaForCausalLM(config)
    randomize(model, seed)
    directory = HERE / "models" / name
    model.to(dtype).save_pretrained(directory)
    if name == "tied_theta":
        spell_config_as_transformers_4(directory / "config.json")
    for file in directory.iterdir():
        file.chmod(0o644)


def spell_config_as_transformers_4(path):
    config = json.loads(path.read_text())
    config["torch_dtype"] = config.pop("dtype")
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    config["transformers_version"] = "4.46.0"
    write_json(path, config)


def load_model(name, dtype=torch.float32):
    return LlamaForCausalLM.from_pretrained(HERE / "models" / name, dtype=dtype, attn_implementation="eager").eval()


@torch.no_grad()
def logits(model, ids, positions=None):
    out = model(ids[None]).logits[0]
    return (out if positions is None else out[positions]).contiguous()


@torch.no_grad()
def greedy(model, prompt):
    """GREEDY tokens by transformers' generate, and the smallest gap between the best and the second best logit."""
    out = model.generate(prompt[None], attention_mask=torch.ones_like(prompt[None]), do_sample=False, max_new_tokens=GREEDY,
                         min_new_tokens=GREEDY, eos_token_id=None, pad_token_id=0)[0]
    best = logits(model, out)[len(prompt) - 1:-1].topk(2).values
    return out[len(prompt):], (best[:, 0] - best[:, 1]).min().item()


def clear_greedy_prompt(model, seed):
    """The first random prompt whose greedy continuation never hangs on rounding and does not run in a small circle."""
    for attempt in range(1000):
        prompt = tokens(seed * 1000 + attempt, SHORT)
        generated, gap = greedy(model, prompt)
        if gap > 0.05 and len(set(generated.tolist())) >= GREEDY // 2:
            return prompt, generated, gap
    raise RuntimeError("no clear greedy continuation found")


def relative_deviation(got, want):
    """The largest error of a row against the row's largest value."""
    got, want = got.double(), want.double()
    return ((got - want).abs().amax(-1) / want.abs().amax(-1)).max().item()


def make_model_golden(name, seed):
    model, exact = load_model(name), load_model(name, torch.float64)
    short, long = tokens(100 + seed, SHORT), tokens(200 + seed, LONG)
    prompt, generated, gap = clear_greedy_prompt(model, seed)
    positions = torch.tensor(LONG_POSITIONS)
    long_logits = logits(model, long, positions)
    save(HERE / "models" / name / "golden.safetensors", {
        "short.ids": short, "short.logits": logits(model, short),
        "long.ids": long, "long.positions": positions, "long.logits": long_logits,
        "greedy.prompt": prompt, "greedy.ids": generated})
    return {
        "float32_vs_float64": relative_deviation(long_logits, logits(exact, long, positions)),
        "greedy_smallest_gap": gap, "greedy_distinct_tokens": len(set(generated.tolist()))}


# ---- LoRA ------------------------------------------------------------------------------------------------------------


def dataset():
    """12 sequences of 20..90 tokens: walks that mostly follow one fixed permutation (something to learn). Labels as in
    transformers, unshifted; the head of each sample, and every seventh token of some, is not learned."""
    gen = generator(7)
    follow = torch.randperm(VOCAB, generator=gen)
    samples = []
    for index in range(12):
        length = int(torch.randint(20, 91, (1,), generator=gen))
        ids = [int(torch.randint(3, VOCAB, (1,), generator=gen))]
        while len(ids) < length:
            jump = torch.rand(1, generator=gen).item() < 0.15
            ids.append(int(torch.randint(3, VOCAB, (1,), generator=gen)) if jump else int(follow[ids[-1]]))
        labels = list(ids)
        for position in range(length):
            if position < 4 + index % 5 or (index % 3 == 1 and position % 7 == 0):
                labels[position] = -100
        samples.append((torch.tensor(ids), torch.tensor(labels)))
    return samples


def num_learned(labels):
    return int((labels[1:] != -100).sum())


def sum_of_losses(model, ids, labels):
    return torch.nn.functional.cross_entropy(model(ids[None]).logits[0, :-1], labels[1:], ignore_index=-100, reduction="sum")


def learning_rate(step):
    t = TRAINING
    if step < t["warmup_steps"]:
        return t["learning_rate"] * (step + 1) / t["warmup_steps"]
    progress = (step - t["warmup_steps"]) / (t["steps"] - t["warmup_steps"])
    return t["learning_rate"] * 0.5 * (1 + math.cos(math.pi * progress))


def train(model, samples):
    """One dict per optimizer step; `model` is trained in place. Samples are taken in order, around and around."""
    t = TRAINING
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=t["learning_rate"], betas=(t["beta1"], t["beta2"]), eps=t["epsilon"],
                                  weight_decay=t["weight_decay"], foreach=False, fused=False)
    curve = []
    for step in range(t["steps"]):
        group = [(step * t["samples_per_step"] + i) % len(samples) for i in range(t["samples_per_step"])]
        learned = sum(num_learned(samples[i][1]) for i in group)
        loss = 0.0
        for i in group:
            sample_loss = sum_of_losses(model, *samples[i]) / learned
            sample_loss.backward()
            loss += sample_loss.item()
        norm = torch.nn.utils.clip_grad_norm_(parameters, t["max_grad_norm"]).item()
        optimizer.param_groups[0]["lr"] = learning_rate(step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        curve.append({"step": step, "samples": group, "learned_tokens": learned, "loss": loss, "learning_rate":
                      learning_rate(step), "gradient_norm": norm})
    return curve


def lora_parameters(model):
    """{PEFT file key: parameter}"""
    return {name.replace(".default.", "."): p for name, p in model.named_parameters() if "lora_" in name}


def save_adapter(model, directory):
    model.save_pretrained(directory)
    (directory / "README.md").unlink()
    config = json.loads((directory / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = TRAINING["base"]
    config["target_modules"] = sorted(config["target_modules"])  # peft keeps a set
    write_json(directory / "adapter_config.json", config)
    for file in directory.iterdir():
        file.chmod(0o644)


def randomize_b(model, seed):
    gen = generator(seed)
    with torch.no_grad():
        for name, parameter in lora_parameters(model).items():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=gen))


def trained(adapter, samples, dtype=torch.float32):
    model = PeftModel.from_pretrained(load_model(TRAINING["base"], dtype), adapter, is_trainable=True, autocast_adapter_dtype=False)
    model.to(dtype).train()  # dropout is 0
    curve = train(model, samples)
    return model.eval(), curve


def sample_gradients(model, ids, labels):
    """Of the sum of the sample's losses."""
    model.zero_grad(set_to_none=True)
    loss = sum_of_losses(model, ids, labels)
    loss.backward()
    gradients = {f"random_b.gradient.{name}": p.grad.clone() for name, p in lora_parameters(model).items()}
    return {"random_b.loss": loss.detach()[None]} | gradients


def make_lora_golden(name, seed, **fields):
    directory = HERE / "lora" / name
    samples = dataset()
    torch.manual_seed(seed)  # of peft's initialisation
    model = get_peft_model(load_model(TRAINING["base"]), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **fields))
    save_adapter(model, directory / "init")
    short, long = tokens(101, SHORT), tokens(201, LONG)  # those of the base model's golden
    positions = torch.tensor(LONG_POSITIONS)
    golden = {"short.ids": short, "long.ids": long, "long.positions": positions}

    randomize_b(model, seed + 100)
    save_adapter(model, directory / "random_b")
    golden |= {"random_b.short.logits": logits(model, short), "random_b.long.logits": logits(model, long, positions)}
    golden |= sample_gradients(model, *samples[0])

    model, curve = trained(directory / "init", samples)
    save_adapter(model, directory / "final")
    golden |= {"final.short.logits": logits(model, short), "final.long.logits": logits(model, long, positions)}
    for index, (ids, labels) in enumerate(samples):
        golden |= {f"sample.{index}.ids": ids, f"sample.{index}.labels": labels}
    save(directory / "golden.safetensors", golden)

    exact, exact_curve = trained(directory / "init", samples, torch.float64)
    want = lora_parameters(exact)
    deviation = max(((p - want[key]).norm() / want[key].norm()).item() for key, p in lora_parameters(model).items())
    write_json(directory / "curve.json", {"training": TRAINING, "num_samples": len(samples), "steps": curve})
    return {
        "final_float32_vs_float64": deviation,
        "loss_float32_vs_float64": max(abs(a["loss"] - b["loss"]) for a, b in zip(curve, exact_curve)),
        "first_loss": curve[0]["loss"], "last_loss": curve[-1]["loss"],
        "steps_clipped": sum(s["gradient_norm"] > TRAINING["max_grad_norm"] for s in curve)}


# ---- files -----------------------------------------------------------------------------------------------------------


def save(path, tensors):
    """Token ids and positions as I32: what the C++ reader knows."""
    narrow = lambda t: t.to(torch.int32) if t.dtype == torch.int64 else t.detach().to(torch.float32)
    save_file({key: narrow(value).contiguous() for key, value in tensors.items()}, path)
    path.chmod(0o644)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


MANIFEST = {
    "made_with": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__, "peft": peft.__version__},
    "models": {
        "files": "models/<name>: a Hugging Face directory and golden.safetensors, computed in float32 (a bf16 model's weights "
                 "widened to float32 first)",
        "short.ids": "[7] prompt", "short.logits": "[7, vocab] at every position",
        "long.ids": "[150] prompt", "long.positions": "[20]", "long.logits": "[20, vocab] at these positions",
        "greedy.prompt": "[7]", "greedy.ids": "[64] what generate(do_sample=False) appends, end tokens ignored"},
    "lora": {
        "files": "lora/<name>, on models/gqa_untied: PEFT directories init (B zero), random_b (same A, random B), final "
                 "(init after training); golden.safetensors; curve.json",
        "curve.json": "every optimizer step: loss (mean over the step's learned tokens, before the update), learning rate "
                      "(lr * (t + 1) / warmup, then lr / 2 * (1 + cos(pi * (t - warmup) / (steps - warmup)))), norm of the "
                      "gradient before it is clipped",
        "sample.<i>.ids": "[length] training data", "sample.<i>.labels": "[length] unshifted: row t learns labels[t + 1]; -100: "
                                                                         "not learned",
        "random_b.loss": "[1] sum of the losses of sample 0 under random_b",
        "random_b.gradient.<key>": "gradient of random_b.loss with respect to that adapter tensor",
        "random_b.{short,long}.logits": "as of the models, with the adapter", "final.{short,long}.logits": "likewise"},
    "measured": {},
}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    measured = MANIFEST["measured"]
    for name, fields in MODELS.items():
        shutil.rmtree(HERE / "models" / name, ignore_errors=True)
        make_model(name, **fields)
        measured[name] = make_model_golden(name, fields["seed"])
        print(name, measured[name], flush=True)
    for name, fields in LORAS.items():
        shutil.rmtree(HERE / "lora" / name, ignore_errors=True)
        measured[name] = make_lora_golden(name, **fields)
        print(name, measured[name], flush=True)
    write_json(HERE / "manifest.json", MANIFEST)


if __name__ == "__main__":
    main()
