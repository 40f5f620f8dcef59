"""Goldens of the model families: tiny random models beside those of make.py (whose file layout and keys they share), and
LoRA gradients of some. Deterministic; writes models/<name>, lora/<name> and families.json. Versions: requirements.txt.

    python tests/golden/make_families.py [name ...]      # --bf16: only the bf16 copies of models that are there
"""

import json
import math
import shutil
import sys

import make  # first: it sets the environment that transformers reads
import torch
from make import HERE, LONG, LONG_POSITIONS, SHORT, VOCAB, generator, num_learned, save, tokens, write_json
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             head_dim=16, max_position_embeddings=256, tie_word_embeddings=False)
OPT = dict(hidden_size=64, ffn_dim=96, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=254,
           word_embed_proj_dim=64, dropout=0.0, attention_dropout=0.0, activation_function="relu")
LONG_FACTORS = dict(short_factor=[1.0 + 0.1 * i for i in range(8)], long_factor=[1.5 + 0.4 * i for i in range(8)])


def llama(**rope):
    """A Llama whose rope bites within 150 tokens; 64 positions are the original context."""
    return dict(SIZES, model_type="llama", rope_parameters={"rope_theta": 500.0} | rope)


def gemma(model_type, **fields):
    return dict(SIZES, model_type=model_type, num_hidden_layers=4, tie_word_embeddings=True, query_pre_attn_scalar=24,
                sliding_window=20) | fields


# Windows, caps and contexts are smaller than the prompts, so that a model without them is far off (families_test.cc).
FAMILIES = {
    "llama_linear": llama(rope_type="linear", factor=4.0) | dict(max_position_embeddings=64),
    "llama_dynamic": llama(rope_type="dynamic", factor=4.0) | dict(max_position_embeddings=64),
    "llama3_rope": llama(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                         original_max_position_embeddings=64),
    "llama_yarn": llama(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=8, beta_slow=1),
    "llama_longrope": llama(rope_type="longrope", factor=4.0, original_max_position_embeddings=64, **LONG_FACTORS),
    "mistral": dict(SIZES, model_type="mistral", sliding_window=20),
    "qwen2": dict(SIZES, model_type="qwen2", use_sliding_window=True, sliding_window=20, max_window_layers=1),
    "qwen3": dict(SIZES, model_type="qwen3"),
    "mixtral": dict(SIZES, model_type="mixtral", intermediate_size=32, num_local_experts=4, num_experts_per_tok=2),
    "qwen3_moe": dict(SIZES, model_type="qwen3_moe", moe_intermediate_size=24, num_experts=6, num_experts_per_tok=3,
                      norm_topk_prob=False),
    "opt": dict(OPT, model_type="opt"),
    "opt_350m": dict(OPT, model_type="opt", word_embed_proj_dim=32, do_layer_norm_before=False),
    "gemma2": gemma("gemma2", attn_logit_softcapping=2.0, final_logit_softcapping=4.0),
    "gemma3": gemma("gemma3_text", layer_types=["sliding_attention", "full_attention"] * 2,
                    rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0},
                                     "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}),
    "gemma": dict(SIZES, model_type="gemma", tie_word_embeddings=True),
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
# Whose weights are also there in bf16, as models/<name>_bf16: biases, caps and offset norms, LayerNorm, experts.
BF16 = ["qwen2", "gemma2", "opt", "mixtral"]
LORAS = {"qwen2": "all-linear", "gemma2": "all-linear", "gemma3": "all-linear", "opt": "all-linear",
         "opt_350m": ["q_proj", "v_proj", "fc1", "fc2", "out_proj", "k_proj"], "mixtral": ATTENTION, "qwen3_moe": ATTENTION}

BY_LENGTH = ("llama_dynamic", "llama_longrope")  # run token by token: see rope_table.h


def randomize(model, gemma_norms, seed):
    """Weights wide enough that attention is peaky, biases and norms far from their defaults."""
    gen = generator(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=gen)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(0.2 * noise + (0 if gemma_norms else 1))
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "embed_positions" in name:
                parameter.copy_(0.4 * noise)
            elif "embed_tokens" in name:
                parameter.copy_((0.05 if gemma_norms else 0.5) * noise)
            else:
                branch = any(kind in name for kind in ("o_proj", "out_proj", "down_proj", "fc2"))
                wide = 2.0 if "lm_head" in name or ".gate.weight" in name or branch else 1.4
                parameter.copy_(wide * noise / math.sqrt(parameter.shape[-1]))


def make_model(name, seed):
    fields = dict(FAMILIES[name])
    config = AutoConfig.for_model(fields.pop("model_type"), vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=0,
                                  **fields)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    randomize(model, name.startswith("gemma"), seed)
    directory = HERE / "models" / name
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    for file in directory.iterdir():
        file.chmod(0o644)


def load(name, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(HERE / "models" / name, dtype=dtype, attn_implementation="eager",
                                                experts_implementation="eager").eval()


@torch.no_grad()
def logits(name, model, ids, positions=None):
    if name in BY_LENGTH:
        cache, rows = DynamicCache(config=model.config), []
        for i in range(len(ids)):
            rows.append(model(ids[None, i:i + 1], past_key_values=cache, use_cache=True).logits[0])
        out = torch.cat(rows)
    else:
        out = model(ids[None], use_cache=False).logits[0]
    return (out if positions is None else out[positions]).contiguous()


@torch.no_grad()
def greedy(name, model, prompt):
    out = model.generate(prompt[None], attention_mask=torch.ones_like(prompt[None]), do_sample=False,
                         max_new_tokens=make.GREEDY, min_new_tokens=make.GREEDY, eos_token_id=None, pad_token_id=0)[0]
    best = logits(name, model, out)[len(prompt) - 1:-1].topk(2).values
    return out[len(prompt):], (best[:, 0] - best[:, 1]).min().item()


def clear_greedy_prompt(name, model, seed):
    """Of some random prompts the one whose greedy continuation has the most tokens and hangs least on rounding."""
    best, best_score = None, None
    for attempt in range(60):
        prompt = tokens(seed * 1000 + attempt, SHORT)
        generated, gap = greedy(name, model, prompt)
        score = (min(len(set(generated.tolist())), make.GREEDY // 4), min(gap, 0.02)) if gap > 2e-3 else (0, gap)
        if best is None or score > best_score:
            best, best_score = (prompt, generated, gap), score
        if score == (make.GREEDY // 4, 0.02):
            break
    return best


def make_golden(name, seed):
    model = load(name)
    short, long = tokens(100 + seed, SHORT), tokens(200 + seed, LONG)
    prompt, generated, gap = clear_greedy_prompt(name, model, seed)
    positions = torch.tensor(LONG_POSITIONS)
    long_logits = logits(name, model, long, positions)
    exact = logits(name, load(name, torch.float64), long, positions)
    save(HERE / "models" / name / "golden.safetensors", {
        "short.ids": short, "short.logits": logits(name, model, short),
        "long.ids": long, "long.positions": positions, "long.logits": long_logits,
        "greedy.prompt": prompt, "greedy.ids": generated})
    return {"float32_vs_float64": make.relative_deviation(long_logits, exact), "greedy_smallest_gap": gap,
            "greedy_distinct_tokens": len(set(generated.tolist()))}


def make_bf16(name, seed):
    """The weights rounded to bf16. The golden is float32 throughout over them; beside it, how far transformers itself is
    off when it computes in bf16: what a bf16 implementation may be judged by (bf16_families_test.cc)."""
    directory = HERE / "models" / f"{name}_bf16"
    shutil.rmtree(directory, ignore_errors=True)
    load(name, torch.bfloat16).save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    for file in directory.iterdir():
        file.chmod(0o644)
    exact, rounded = load(directory.name), load(directory.name, torch.bfloat16)
    ids = tokens(400 + seed, LONG)
    want = logits(name, exact, ids)
    save(directory / "golden.safetensors", {"long.ids": ids, "long.logits": want})
    row_errors = [make.relative_deviation(got, row) for got, row in zip(logits(name, rounded, ids), want)]
    return {"bfloat16_vs_float32": max(row_errors), "bfloat16_vs_float32_median": sorted(row_errors)[len(row_errors) // 2]}


def make_lora(name, seed):
    """An adapter with random A and B, logits through it, and the gradients of the losses of one sample of 100 tokens."""
    directory = HERE / "lora" / name
    shutil.rmtree(directory, ignore_errors=True)
    torch.manual_seed(seed)
    model = get_peft_model(load(name), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, r=3, lora_alpha=6,
                                                  target_modules=LORAS[name]))
    make.randomize_b(model, seed + 100)
    model.save_pretrained(directory / "random_b")
    (directory / "random_b" / "README.md").unlink()
    config = json.loads((directory / "random_b" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = name
    if isinstance(config["target_modules"], list):
        config["target_modules"] = sorted(config["target_modules"])
    write_json(directory / "random_b" / "adapter_config.json", config)
    for file in (directory / "random_b").iterdir():
        file.chmod(0o644)
    short, long, ids = tokens(100 + seed, SHORT), tokens(200 + seed, LONG), tokens(300 + seed, 100)
    labels = torch.where(torch.arange(100) % 7 == 3, -100, ids)
    assert num_learned(labels) > 50
    positions = torch.tensor(LONG_POSITIONS)
    golden = {"short.ids": short, "long.ids": long, "long.positions": positions, "sample.0.ids": ids, "sample.0.labels": labels,
              "random_b.short.logits": logits(name, model, short), "random_b.long.logits": logits(name, model, long, positions)}
    golden |= make.sample_gradients(model, ids, labels)
    save(directory / "golden.safetensors", golden)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    path = HERE / "families.json"
    measured = json.loads(path.read_text()) if path.exists() else {}
    only_bf16 = "--bf16" in sys.argv
    names = [name for name in sys.argv[1:] if name != "--bf16"]
    for index, name in enumerate(FAMILIES):
        if names and name not in names:
            continue
        if not only_bf16:
            make_model(name, 50 + index)
            measured[name] = make_golden(name, 50 + index)
            print(name, measured[name], flush=True)
        if not only_bf16 and name in LORAS:
            make_lora(name, 50 + index)
        if name in BF16:
            measured[f"{name}_bf16"] = make_bf16(name, 50 + index)
            print(f"{name}_bf16", measured[f"{name}_bf16"], flush=True)
        write_json(path, measured)


if __name__ == "__main__":
    main()
