"""Goldens of tests/training: how transformers tokenizes and masks chats, what torch's AdamW makes of gradients, and the
order in which samples are drawn.

    python make.py        writes tokenizer/, chats.json and adamw.json beside this file; prints the orders of
                          sample_order_test.cc

The tokenizer is a byte-level BPE of 300 entries, so that most characters beyond ASCII are cut between tokens. The masks are
those of apply_chat_template(return_assistant_tokens_mask=True); order() is splitmix64 and Lemire's bounded draw in Python's
whole numbers. Versions: requirements.txt.
"""

import json
import math
import pathlib

import jinja2
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'assistant' %}<|assistant|>\n"
    "{% generation %}{{ message.content }}<|end|>{% endgeneration %}\n"
    "{% else %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

# The same without generation blocks: the assistant's turns are found by rendering prefixes of the conversation.
PLAIN_TEMPLATE = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")

TRAINING_TEXT = [
    "The fox went to the river and said hello to the otter. The otter said: what do you want?",
    "I want to share the fish, said the fox, and they shared the fish by the river until the night.",
    "Grüße aus Zürich, où l'été est doux.",
    "One.\n\n\nTwo.\n\n\nThree.\n\n\nFour.",
]

SPECIAL = ["<|begin|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]

CHATS = [
    [("user", "Hello?"), ("assistant", "The fox said hello.")],
    [("system", "Be short."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d e f")],
    # Characters of two, three and four bytes, at the borders of turns too.
    [("user", "Zürich 🙂"), ("assistant", "🙂 où? 狐と川 é"), ("user", "é"), ("assistant", "é")],
    # Line ends that become one token with the template's own: it lies across the border.
    [("user", " the\n"), ("assistant", "\n\n the fox \n")],
    [("user", "x"), ("assistant", ""), ("user", "y"), ("assistant", "  ")],
    # A special token written out in a message; a real U+FFFD.
    [("user", "say <|end|>"), ("assistant", "\ufffd<|user|>\ufffd river")],
    [("assistant", "I begin."), ("user", "No.")],
]


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    begin = SPECIAL[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    return tokenizer


def chat_case(tokenizer, chat):
    messages = [{"role": role, "content": content} for role, content in chat]
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    return {
        "messages": messages,
        "generation": {"tokens": encoded["input_ids"], "mask": encoded["assistant_masks"]},
        "plain": plain_chat(tokenizer, messages),
    }


def plain_chat(tokenizer, messages):
    """A token is learned where it touches what an assistant's turn adds to the generation prompt before it."""

    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(PLAIN_TEMPLATE)

    def render(count, prompt):
        return template.render(messages=messages[:count], bos_token=SPECIAL[0], add_generation_prompt=prompt)

    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    wanted = [(len(render(i, True)), len(render(i + 1, False))) for i in turns]
    encoded = tokenizer(render(len(messages), False), add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    mask = [int(any(max(begin, low) < min(end, high) for low, high in wanted)) for begin, end in offsets]
    return {"tokens": encoded["input_ids"], "mask": mask}


def completion_case(tokenizer, prompt, completion):
    prompt_ids = tokenizer(prompt)["input_ids"]
    completion_ids = tokenizer(completion, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    mask = [0] * len(prompt_ids) + [1] * len(completion_ids)
    return {"prompt": prompt, "completion": completion, "tokens": prompt_ids + completion_ids, "mask": mask}


def adamw_case():
    """Six steps whose gradients adapter_trainer_test.cc makes up the same way; some norms are clipped and some are not."""
    steps, warmup, learning_rate, decay, max_norm, num_tokens = 6, 2, 0.05, 0.1, 1.0, 5
    a = torch.nn.Parameter(torch.tensor([(i * 5 % 7 - 3) / 8 for i in range(6)]).reshape(2, 3))
    b = torch.nn.Parameter(torch.tensor([(i * 3 % 5 - 2) / 8 for i in range(8)]).reshape(4, 2))
    optimizer = torch.optim.AdamW([a, b], lr=learning_rate, weight_decay=decay, foreach=False)
    norms = []
    for t in range(steps):
        da = torch.tensor([((i * 7 + t * 3) % 11 - 5) / 4 for i in range(6)])
        db = torch.tensor([((i * 4 + t * 5) % 13 - 6) / 4 for i in range(8)])
        a.grad = (1 + t % 3) * da.reshape(2, 3) / num_tokens
        b.grad = (1 + t % 3) * db.reshape(4, 2) / num_tokens
        norms.append(torch.nn.utils.clip_grad_norm_([a, b], max_norm).item())
        progress = (t - warmup) / (steps - warmup)
        scale = (t + 1) / warmup if t < warmup else 0.5 * (1 + math.cos(math.pi * progress))
        optimizer.param_groups[0]["lr"] = learning_rate * scale
        optimizer.step()
    return {
        "steps": steps,
        "warmup_steps": warmup,
        "learning_rate": learning_rate,
        "weight_decay": decay,
        "max_grad_norm": max_norm,
        "num_tokens": num_tokens,
        "norms": norms,
        "a": a.flatten().tolist(),
        "b": b.flatten().tolist(),
    }


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def order(num_samples, seed, epoch):
    key = mix((mix((seed + GOLDEN) & MASK) + (epoch + 1) * GOLDEN) & MASK)
    counter = 0
    indices = list(range(num_samples))
    for i in range(num_samples - 1, 0, -1):
        while True:
            counter += 1
            product = mix((key + counter * GOLDEN) & MASK) * (i + 1)
            if product & MASK >= 2**64 % (i + 1):
                break
        j = product >> 64
        indices[i], indices[j] = indices[j], indices[i]
    return indices


def main():
    directory = HERE / "tokenizer"
    directory.mkdir(exist_ok=True)
    raw = make_tokenizer()
    (directory / "tokenizer.json").write_text(raw.to_str(pretty=False) + "\n", encoding="utf-8")
    config = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[-1], "chat_template": TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **config)
    goldens = {
        "plain_template": PLAIN_TEMPLATE,
        "end_token": tokenizer.eos_token_id,
        "chats": [chat_case(tokenizer, chat) for chat in CHATS],
        "completions": [
            completion_case(tokenizer, "Question: é", " Answer: 🙂"),
            completion_case(tokenizer, "", "river"),
        ],
    }
    (HERE / "chats.json").write_text(json.dumps(goldens, indent=1) + "\n", encoding="utf-8")
    (HERE / "adamw.json").write_text(json.dumps(adamw_case(), indent=1) + "\n", encoding="utf-8")
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        print(f"order(10, seed={seed}, epoch={epoch}) = {order(10, seed, epoch)}")


if __name__ == "__main__":
    main()
