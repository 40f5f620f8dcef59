"""Goldens of sampling: what transformers' generate leaves of fixed rows of logits, by the processors that it builds itself
from a GenerationConfig, in its own order. Deterministic; writes sampling.json beside this file. Versions: requirements.txt.

    python tests/golden/make_sampling.py
"""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
VOCAB = 120
PROMPT = [3, 17, 17, 40, 8]
COMPLETION = [17, 9, 40, 8, 61, 9]

# As GenerationConfig spells them; `prompt` is how many tokens of the history are the prompt's.
CASES = {
    "plain": {},
    "cold": dict(temperature=0.35),
    "hot": dict(temperature=2.5),
    "top_k": dict(top_k=9),
    "top_k_of_more_than_there_are": dict(top_k=500),
    "top_p": dict(top_p=0.8),
    "small_top_p": dict(top_p=0.05),
    "min_p": dict(min_p=0.08),
    "typical_p": dict(typical_p=0.5),
    "wide_typical_p": dict(typical_p=0.95, temperature=1.5),
    "repetition_penalty": dict(repetition_penalty=1.7),
    "repetition_reward": dict(repetition_penalty=0.6),
    "bad_words": dict(bad_words_ids=[[5], [8, 61, 9, 11], [61, 9, 12], [9, 13], [40, 14]]),
    "min_tokens": dict(min_new_tokens=7, eos_token_id=[2, 21]),
    "min_tokens_reached": dict(min_new_tokens=6, eos_token_id=[2, 21]),
    "bias": dict(sequence_bias=[[[4], 3.0], [[30], -2.5], [[77], 1.25]]),
    "temperature_top_k_top_p": dict(temperature=0.7, top_k=30, top_p=0.9),
    "top_p_min_p": dict(temperature=1.3, top_p=0.92, min_p=0.03),
    "all": dict(temperature=1.2, top_k=50, top_p=0.95, min_p=0.02, typical_p=0.9, repetition_penalty=1.3,
                bad_words_ids=[[5], [61, 9, 12]], min_new_tokens=20, eos_token_id=[2, 21],
                sequence_bias=[[[4], 2.0], [[30], -1.0]]),
}


def logits(seed):
    # Wide enough that cuts fall between unequal tokens, not so wide that what is left is one token.
    return torch.round(1.5 * torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed)), decimals=4)


@torch.no_grad()
def distribution(model, options, row):
    config = GenerationConfig(**{"do_sample": True, "top_k": 0, **options})
    config._eos_token_tensor = (torch.tensor(config.eos_token_id) if config.eos_token_id is not None else None)
    processors = model._get_logits_processor(
        generation_config=config, input_ids_seq_length=len(PROMPT), encoder_input_ids=None, prefix_allowed_tokens_fn=None,
        logits_processor=transformers.LogitsProcessorList(), device="cpu")
    history = torch.tensor([PROMPT + COMPLETION])
    scores = processors(history, row[None].clone())[0]
    return torch.softmax(scores.double(), dim=-1), [type(p).__name__ for p in processors]


def main():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                         num_attention_heads=1, num_key_value_heads=1)).eval()
    cases = []
    for seed, (name, options) in enumerate(CASES.items(), start=100):
        row = logits(seed)
        p, processors = distribution(model, options, row)
        kept = [i for i in range(VOCAB) if p[i] > 0]
        cases.append(dict(name=name, options=options, processors=processors, logits=[round(v, 4) for v in row.tolist()],
                          kept=kept, probabilities=[round(p[i].item(), 8) for i in kept]))
    out = dict(transformers=transformers.__version__, vocab=VOCAB, prompt=PROMPT, completion=COMPLETION, cases=cases)
    (HERE / "sampling.json").write_text(json.dumps(out, indent=1) + "\n")
    for case in cases:
        print(f"{case['name']}: {len(case['kept'])} kept by {', '.join(case['processors'])}")


if __name__ == "__main__":
    main()
