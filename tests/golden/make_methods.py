"""Goldens of the adapters that are no plain LoRA, on models of make.py and make_families.py: DoRA and IA3 by peft, and the
bottleneck, which peft does not have, by a torch module below. Deterministic; writes adapters/<name> and adapters.json.
Versions: requirements.txt.

    python tests/golden/make_methods.py [name ...]

Each directory is laid out as those of lora/ (manifest.json): random_b, an adapter whose parameters are random, with logits
through it and the gradients of one sample; of those that are trained also init, final and curve.json. A key of
golden.safetensors that ends a gradient's name is the adapter's file key.
"""

import json
import shutil
import sys

import make  # first: it sets the environment that transformers reads
import make_families
import torch
from make import HERE, LONG, LONG_POSITIONS, SHORT, generator, num_learned, save, tokens, write_json
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ACTIVATIONS = {"silu": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu, "relu": torch.nn.functional.relu}


def dora(targets, **fields):
    return LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, use_dora=True, target_modules=targets, **fields)


def ia3(targets, feedforward):
    return IA3Config(task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=feedforward)


def bottleneck(targets, width, activation):
    return dict(peft_type="BOTTLENECK", task_type="CAUSAL_LM", width=width, activation=activation, target_modules=targets)


# name: base, config, whether it is trained
METHODS = {
    "dora_all": ("gqa_untied", lambda: dora(LINEARS, r=3, lora_alpha=6, use_rslora=True), True),
    "dora_qwen2": ("qwen2", lambda: dora(LINEARS, r=3, lora_alpha=6), False),  # biases
    "dora_gemma3": ("gemma3", lambda: dora(LINEARS, r=2, lora_alpha=3), False),  # norms of heads and of outputs
    "ia3": ("gqa_untied", lambda: ia3(["k_proj", "v_proj", "down_proj"], ["down_proj"]), True),
    "ia3_all": ("gqa_untied", lambda: ia3(LINEARS, ["q_proj", "up_proj", "down_proj"]), True),
    "ia3_opt": ("opt", lambda: ia3(["k_proj", "v_proj", "out_proj", "fc1", "fc2"], ["fc2"]), False),  # biases
    "bottleneck": ("gqa_untied", lambda: bottleneck(["o_proj", "down_proj"], 4, "silu"), True),
    "bottleneck_all": ("qwen2", lambda: bottleneck(LINEARS, 5, "gelu"), False),
    "bottleneck_gemma2": ("gemma2", lambda: bottleneck(["o_proj", "down_proj"], 3, "silu"), False),
    "bottleneck_mixtral": ("mixtral", lambda: bottleneck(["v_proj", "o_proj"], 4, "relu"), False),
}


# ---- the bottleneck --------------------------------------------------------------------------------------------------


class Bottleneck(torch.nn.Module):
    """y + up(activation(down(y))) for the y of a linear."""

    def __init__(self, base_layer, width, activation):
        super().__init__()
        features = base_layer.out_features
        self.base_layer, self.activation = base_layer, ACTIVATIONS[activation]
        self.bottleneck_down = torch.nn.Linear(features, width, bias=False)  # Kaiming, a = sqrt(5)
        self.bottleneck_up = torch.nn.Linear(width, features, bias=False)
        torch.nn.init.zeros_(self.bottleneck_up.weight)

    def forward(self, x):
        y = self.base_layer(x)
        return y + self.bottleneck_up(self.activation(self.bottleneck_down(y)))


def add_bottlenecks(model, config):
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name.split(".")[-1] in config["target_modules"]:
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.split(".")[-1], Bottleneck(module, config["width"], config["activation"]))
    return model


# ---- what all methods share ------------------------------------------------------------------------------------------


def file_key(name):
    """A parameter's name as the adapter's file has it."""
    key = name if name.startswith("base_model.") else "base_model.model." + name
    return key.replace("lora_magnitude_vector.default.weight", "lora_magnitude_vector").replace(".default", "")


def parameters(model):
    return {file_key(name): p for name, p in model.named_parameters() if p.requires_grad}


def fresh(base, config):
    """The model with a fresh adapter, in float32."""
    model = make_families.load(base)
    return add_bottlenecks(model, config) if isinstance(config, dict) else get_peft_model(model, config)


def load(base, adapter, config, dtype):
    """The model with the adapter of a directory, trainable."""
    model = make_families.load(base, dtype)
    if not isinstance(config, dict):
        return PeftModel.from_pretrained(model, adapter, is_trainable=True, autocast_adapter_dtype=False).to(dtype)
    model = add_bottlenecks(model, config).to(dtype)
    tensors = load_file(adapter / "adapter_model.safetensors")
    with torch.no_grad():
        for key, parameter in parameters(model).items():
            parameter.copy_(tensors[key])
    return model


def randomize(model, seed):
    """Far from where the adapter changes nothing: B and up random, factors around what they were."""
    gen = generator(seed)
    with torch.no_grad():
        for key, parameter in parameters(model).items():
            noise = torch.randn(parameter.shape, generator=gen)
            if key.endswith(("lora_B.weight", "bottleneck_up.weight")):
                parameter.copy_(0.3 * noise)
            elif key.endswith(("lora_magnitude_vector", "ia3_l")):
                parameter.mul_(1 + 0.3 * noise)


def save_adapter(model, base, config, directory):
    if isinstance(config, dict):
        directory.mkdir(parents=True)
        save_file({key: p.detach().contiguous() for key, p in parameters(model).items()},
                  directory / "adapter_model.safetensors", {"format": "pt"})
        fields = dict(config)
    else:
        model.save_pretrained(directory)
        (directory / "README.md").unlink()
        fields = json.loads((directory / "adapter_config.json").read_text())
    fields["base_model_name_or_path"] = base
    for key in ("target_modules", "feedforward_modules"):
        if isinstance(fields.get(key), list):
            fields[key] = sorted(fields[key])  # peft keeps sets
    write_json(directory / "adapter_config.json", fields)
    for file in directory.iterdir():
        file.chmod(0o644)


def sample_of(base, seed):
    if base == make.TRAINING["base"]:
        return make.dataset()[0]
    ids = tokens(300 + seed, 100)
    labels = torch.where(torch.arange(100) % 7 == 3, -100, ids)
    assert num_learned(labels) > 50
    return ids, labels


def gradients(model, ids, labels):
    model.zero_grad(set_to_none=True)
    loss = make.sum_of_losses(model, ids, labels)
    loss.backward()
    return {"random_b.loss": loss.detach()[None]} | {
        f"random_b.gradient.{key}": p.grad.clone() for key, p in parameters(model).items()}


def train(directory, base, config, dtype=torch.float32):
    model = load(base, directory / "init", config, dtype).train()  # dropout is 0
    curve = make.train(model, make.dataset())
    return model.eval(), curve


def make_golden(name, seed):
    base, make_config, trained = METHODS[name]
    config, directory = make_config(), HERE / "adapters" / name
    shutil.rmtree(directory, ignore_errors=True)
    torch.manual_seed(seed)  # of the initialisation
    model = fresh(base, config)
    if trained:
        save_adapter(model, base, config, directory / "init")
    randomize(model, seed + 100)
    save_adapter(model, base, config, directory / "random_b")
    model = load(base, directory / "random_b", config, torch.float32).eval()
    short, long, positions = tokens(100 + seed, SHORT), tokens(200 + seed, LONG), torch.tensor(LONG_POSITIONS)
    golden = {"short.ids": short, "long.ids": long, "long.positions": positions,
              "random_b.short.logits": make.logits(model, short), "random_b.long.logits": make.logits(model, long, positions)}
    ids, labels = sample_of(base, seed)
    golden |= gradients(model, ids, labels)
    exact = load(base, directory / "random_b", config, torch.float64).eval()
    measured = {"logits_float32_vs_float64":
                make.relative_deviation(golden["random_b.long.logits"], make.logits(exact, long, positions))}
    samples = make.dataset() if trained else [(ids, labels)]
    for index, (ids, labels) in enumerate(samples):
        golden |= {f"sample.{index}.ids": ids, f"sample.{index}.labels": labels}
    if trained:
        model, curve = train(directory, base, config)
        save_adapter(model, base, config, directory / "final")
        golden |= {"final.short.logits": make.logits(model, short), "final.long.logits": make.logits(model, long, positions)}
        write_json(directory / "curve.json", {"training": make.TRAINING, "num_samples": len(samples), "steps": curve})
        want = parameters(train(directory, base, config, torch.float64)[0])
        measured |= {
            "final_float32_vs_float64": max(((p - want[key]).norm() / want[key].norm()).item()
                                            for key, p in parameters(model).items()),
            "first_loss": curve[0]["loss"], "last_loss": curve[-1]["loss"]}
    save(directory / "golden.safetensors", golden)
    return measured


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    path = HERE / "adapters.json"
    measured = json.loads(path.read_text()) if path.exists() else {}
    for index, name in enumerate(METHODS):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        measured[name] = make_golden(name, 80 + index)
        print(name, measured[name], flush=True)
        write_json(path, measured)


if __name__ == "__main__":
    main()
