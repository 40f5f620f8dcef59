"""Trains the byte-level BPE tokenizer and writes its files, chat template included.

It learns from corpus text plus lists of common English words, so that what users type
splits into few tokens even where the stories never use the word.
"""

import argparse
import json
import pathlib

import tokenizers

import corpus
import world

VOCAB_SIZE = 4096
SPECIALS = ["<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"]
MAX_CONTEXT = 2048

CHAT_TEMPLATE = """{{ bos_token }}\
{%- for message in messages -%}\
{%- if message['role'] == 'assistant' -%}\
{{ '<|assistant|>' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}\
{%- elif message['role'] in ['system', 'user'] -%}\
{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}\
{%- else -%}\
{{ raise_exception('unknown role ' + message['role'] + ', want system, user or assistant') }}\
{%- endif -%}\
{%- endfor -%}\
{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"""


def texts(seed, pools):
    world.INVENTED_SHARE = 0.0  # made-up names must not eat up the vocabulary
    for i in range(pools):
        yield from map(corpus.plain, corpus.pool(seed, "train", i))
    # Each list twice, with and without a leading space, to make every word worth a merge.
    folder = pathlib.Path(__file__).parent
    words = (folder / "words.txt").read_text().split() + (folder / "nouns.txt").read_text().split()
    yield from 2 * [" " + " ".join(words)]
    yield from words


def train(seed=1, pools=8):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts(seed, pools), trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B", special_tokens=[("<|bos|>", 0)])
    return tokenizer


def save(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|pad|>"}
    config = {
        **roles, "additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
        "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_CONTEXT, "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for name, content in (("tokenizer_config.json", config), ("special_tokens_map.json", roles)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    save(train(), parser.parse_args().out)
