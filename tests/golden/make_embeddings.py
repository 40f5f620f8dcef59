"""Goldens of embeddings: the final hidden states, behind the final norm, of the models that make.py and make_families.py
left in models/, by transformers in float32: of the last token, and their mean. Deterministic; writes embeddings.json
beside this file. Versions: requirements.txt.

    python tests/golden/make_embeddings.py
"""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from safetensors.torch import load_file
from make_families import BF16, load

HERE = Path(__file__).resolve().parent
# Their rotations follow the sequence's length: a row of one pass over all is not that of a prompt that grows.
BY_LENGTH = {"llama_dynamic", "llama_longrope"}


@torch.no_grad()
def embeddings(directory):
    model = load(directory.name)
    ids = load_file(directory / "golden.safetensors")["long.ids"].long()
    hidden = model.base_model(ids[None], use_cache=False).last_hidden_state[0]
    exact = load(directory.name, torch.float64).base_model(ids[None], use_cache=False).last_hidden_state[0]
    error = ((hidden[-1] - exact[-1]).abs().max() / exact[-1].abs().max()).item()
    values = dict(last=hidden[-1], mean=hidden.double().mean(0))
    return {key: [round(v, 7) for v in value.tolist()] for key, value in values.items()}, error


def main():
    out = {"transformers": transformers.__version__, "models": {}}
    for directory in sorted((HERE / "models").iterdir()):
        if directory.name in BY_LENGTH | {f"{name}_bf16" for name in BF16}:
            continue
        out["models"][directory.name], error = embeddings(directory)
        print(f"{directory.name}: {len(out['models'][directory.name]['last'])} values, float32 against float64 {error:.1e}")
    (HERE / "embeddings.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
