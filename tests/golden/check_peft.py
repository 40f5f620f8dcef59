"""Loads an adapter that Tandem wrote with peft, and compares peft's logits with those that Tandem wrote.

    python tests/golden/check_peft.py BASE_DIR ADAPTER_DIR LOGITS.safetensors [--tolerance 1e-4]

LOGITS.safetensors holds pairs "<name>.ids" I32 [length] and "<name>.logits" F32 [length, vocab]; where there is also
"<name>.positions" I32 [n], the logits are [n, vocab] at these positions.
"""

import argparse
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("adapter")
    parser.add_argument("logits")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest error of a row / largest value of the row")
    args = parser.parse_args()

    base = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, args.adapter).eval()
    tensors = load_file(args.logits)
    names = sorted(key.removesuffix(".logits") for key in tensors if key.endswith(".logits"))
    if not names:
        sys.exit(f"{args.logits}: no tensor is named <name>.logits")
    worst = 0.0
    for name in names:
        with torch.no_grad():
            want = model(tensors[f"{name}.ids"].long()[None]).logits[0]
            plain = base_logits(model, tensors[f"{name}.ids"].long())
        if f"{name}.positions" in tensors:
            positions = tensors[f"{name}.positions"].long()
            want, plain = want[positions], plain[positions]
        error = relative_error(tensors[f"{name}.logits"], want)
        worst = max(worst, error)
        print(f"{name}: relative error {error:.2e} (the adapter itself changes {relative_error(plain, want):.2e})")
    if not worst <= args.tolerance:  # a NaN fails too
        sys.exit(f"relative error {worst:.2e}, want at most {args.tolerance:.0e}")


def base_logits(model, ids):
    with model.disable_adapter():
        return model(ids[None]).logits[0]


def relative_error(got, want):
    return ((got - want).abs().amax(-1) / want.abs().amax(-1)).max().item()


if __name__ == "__main__":
    main()
