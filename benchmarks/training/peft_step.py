"""Times LoRA training steps of torch + peft on the CPU, in bf16: rank 8 on q_proj and v_proj, one sequence.

Run by benchmarks/training/compare with an interpreter that has torch, transformers and peft. Prints one JSON object."""

import argparse
import json
import time

import peft
import torch
import transformers


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16)
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    # The adapter in bf16 too: its default, f32 beside a bf16 base, is slower.
    model = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = (torch.arange(args.tokens) * 7919 % model.config.vocab_size).unsqueeze(0)

    def step():
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    step()
    rates = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step()
        rates.append(args.tokens / (time.perf_counter() - start))
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    print(json.dumps({"tokens_per_second": rates, "versions": versions}))


if __name__ == "__main__":
    main()
