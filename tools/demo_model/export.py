"""Writes a checkpoint as a Hugging Face directory in bf16, file by file and atomically."""

import json
import os
import pathlib
import shutil
import tempfile

import torch
from safetensors.torch import save_file

from model import CONFIG, GENERATION_CONFIG


def export(model, tokenizer_dir, out):
    """The tied head is left out, as Hugging Face does."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        scratch = pathlib.Path(scratch)
        for path in tokenizer_dir.iterdir():
            shutil.copyfile(path, scratch / path.name)
        for name, content in (("config.json", CONFIG), ("generation_config.json", GENERATION_CONFIG)):
            (scratch / name).write_text(json.dumps(content, indent=2) + "\n")
        tensors = {name: tensor.to(torch.bfloat16).contiguous().cpu()
                   for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
        save_file(tensors, scratch / "model.safetensors", metadata={"format": "pt"})
        for path in scratch.iterdir():
            os.chmod(path, 0o644)
            os.replace(path, out / path.name)
