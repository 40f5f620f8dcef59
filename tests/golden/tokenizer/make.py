"""Writes the tokenizer goldens beside this file: small tokenizers trained by Hugging Face's library on the text below,
and what that library makes of an adversarial corpus. Run it with the packages of requirements.txt; no test runs it.

    python make.py            # tokenizers/*.json, encodings.json, chats.json, unicode.json (Python 3.11: Unicode 14)
"""

import datetime
import json
import pathlib
import unicodedata
import zlib

from chat_cases import CONVERSATIONS, SNIPPETS, VARIABLES
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
]

TRAINING_TEXT = [
    "The miller's daughter walked down to the river because the wheel had stopped in the night.",
    "She wasn't afraid; they'd told her that the old heron would help, and it did, didn't it?",
    "I'll write 1234567890 lines, you've read 42 of them, we're done in 2024 - or 2025.",
    "    def walk(self, steps: int = 10) -> None:\n        for i in range(steps):\n            self.step(i)\n\n",
    "Die Müllerin ging über die Brücke, während der Fluß rauschte. Größe, Straße, Äpfel.",
    "Le meunier a réparé la roue; ça n'était pas très compliqué, là-bas, près de l'étang.",
    "Мельница стояла у реки. Вода была холодная, и колесо не двигалось.",
    "河边有一座磨坊。老磨坊主每天都给孩子们讲故事。水车停了。",
    "川のそばに水車小屋がありました。おじいさんは毎日お話をしました。",
    "강가에 물레방아가 있었어요. 할아버지는 매일 이야기를 들려주었어요.",
    "كانت الطاحونة بجانب النهر. نदी के किनारे एक चक्की थी।",
    "Emoji: 😀 😀 🎉 👍🏽 👩‍👩‍👧 🇩🇪 ❤️ and symbols → ≤ ≥ ∑ ½ ² €.",
    "The mill, the miller, the millers, the milling; a river, rivers, riverside, the river's edge.",
    "hello hello hello world world the the the and and and of of to to in in",
]

CORPUS = [
    "",
    " ",
    "a",
    "Hello, world!",
    "The miller's daughter walked down to the river.",
    "don't DON'T Don’t I'LL we'Re they'vE 'S 's' ''s",
    "\u017f'\u017f it'\u017f",
    "  leading and trailing  ",
    "tabs\tand\t\ttabs",
    "a\nb\n\nc\n\n\nd",
    "a\r\nb\r\n\r\nc\r",
    "a \n b  \n\n  c",
    "x" * 60,
    " " * 70 + "x",
    "\n" * 20,
    " \t\n\r\x0b\x0c \u0085\u00a0\u1680\u180e\u2000\u200a\u2028\u2029\u202f\u205f\u3000\u200b\ufeff.",
    "1 12 123 1234 12345 1234567890123",
    "3.14159 1,000,000 0x1F 1e-9 2²³ ½ Ⅷ ١٢٣ १२३ ๓ 一二三",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case",
    "if (a<b && c>=d) { return x[i]->y; } // done",
    "https://example.org/a/b?c=d&e=f#g user@example.org",
    "!!! ??? ... ,,, --- ___ *** ((())) [[[]]] {{{}}}",
    "Größe Straße ÄÖÜ äöü ß ẞ ŒœÆæ",
    "e\u0301 o\u0308 \u0041\u030a \u212b \u1e9b\u0323 \ufb01 \u0344",
    "q\u0307\u0323 q\u0323\u0307 a\u0300\u0301\u0302\u0303",
    "Привет, мир! Ёжик",
    "你好，世界！这是一个测试。",
    "こんにちは世界、テストです。ｶﾀｶﾅ ガ ハ\u309a",
    "안녕하세요 세계 \u1112\u1161\u11ab",
    "مرحبا بالعالم ۱۲۳",
    "नमस्ते दुनिया क्षि",
    "สวัสดีชาวโลก",
    "שָׁלוֹם עוֹלָם",
    "😀😃😄 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ 1️⃣",
    "𝕳𝖊𝖑𝖑𝖔 𝟙𝟚𝟛 𠜎𠜱 \U0010ffff \ue000",
    "\x00\x01\x7f\x80\x9f\xad control",
    "�\ufffe\uffff",
    "zero\u200bwidth\u200djoiner\u200cnon \u2060word",
    "<|begin|>system\nYou are.<|end|>\n<|begin|>user\nHi<|end|>",
    "a<|end|>b <|end|> c<|end|><|end|>d",
    "<|end |> <|END|> <|begin <|end|",
    "x <mask> y  <mask>  z<mask>",
    "[pad] x[pad]y   [pad]   z",
    "word words sword word, word_ wordé (word) word",
    "Tool tool TOOL tooling",
    "<tool_call>{\"name\": \"f\"}</tool_call>",
    "a\u00a0b\u2003c\u3000d",
    "The The the THE tHe",
    "mixed 中文 and English和日本語のテキスト with 123数字",
    "\u202eright to left\u202c \u0627\u0644",
    "ǅ ǆ Ǆ ŉ ǰ ΐ İ ı ﬀ ﬃ",
    "½ ¼ ⅓ ① ⑩ ㊿ ௰ 𐄇",
    "a" + "\u0301" * 9,
    "lorem ipsum " * 6,
]


def byte_level_bpe(pre_tokenizer, vocab_size=600, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_level(use_regex=False, add_prefix_space=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def add_chat_tokens(tokenizer):
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    tokenizer.add_tokens(["<tool_call>", "</tool_call>"])


def gpt2():
    tokenizer = byte_level_bpe(byte_level(use_regex=True))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    add_chat_tokens(tokenizer)
    return tokenizer


def llama3():
    tokenizer = byte_level_bpe(pre_tokenizers.Sequence([split(LLAMA3), byte_level()]), ignore_merges=True)
    add_chat_tokens(tokenizer)
    begin = tokenizer.token_to_id("<|begin|>")
    template = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", begin)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return tokenizer


def qwen2():
    tokenizer = byte_level_bpe(pre_tokenizers.Sequence([split(QWEN2), byte_level()]))
    add_chat_tokens(tokenizer)
    return tokenizer


def gpt4o():
    tokenizer = byte_level_bpe(pre_tokenizers.Sequence([split(GPT4O), byte_level()]))
    add_chat_tokens(tokenizer)
    return tokenizer


def deepseek():
    steps = [split(pattern) for pattern in DEEPSEEK] + [byte_level()]
    tokenizer = byte_level_bpe(pre_tokenizers.Sequence(steps))
    add_chat_tokens(tokenizer)
    return tokenizer


def starcoder():
    """Digits, a prefix space, BOS and EOS, and added tokens with every flag."""
    steps = [pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True, add_prefix_space=True)]
    tokenizer = byte_level_bpe(pre_tokenizers.Sequence(steps))
    add_chat_tokens(tokenizer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.add_special_tokens([AddedToken("[pad]", rstrip=True, lstrip=True, normalized=False, special=True)])
    tokenizer.add_tokens([AddedToken("word", single_word=True), AddedToken("Tool", normalized=False, single_word=True)])
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<|begin|>", "<|end|>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A <|end|>", special_tokens=ids)
    return tokenizer


def splits(behavior, invert=False):
    """Each behaviour of Split, over words and white space at once."""
    steps = [split(r"\s|[-_.,]", behavior, invert), pre_tokenizers.Digits(individual_digits=False), byte_level()]
    return byte_level_bpe(pre_tokenizers.Sequence(steps), vocab_size=320)


def split_on_string():
    steps = [pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.Split("\\E.", "removed"), byte_level()]
    return byte_level_bpe(pre_tokenizers.Sequence(steps), vocab_size=320)


def onig_classes():
    """Classes that Oniguruma and PCRE2 read differently."""
    return byte_level_bpe(pre_tokenizers.Sequence([split(r"\w+|[^\w\s]|[\h[xyz]]+|^.$"), byte_level()]), vocab_size=320)


BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def llama_decoder(*more):
    return decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), *more])


def byte_fallback_bpe(pre_tokenizer=None, normalizer=None, decoder=None):
    """SentencePiece's BPE as Llama 2, Mistral and Gemma ship it. Rare characters of the corpus are left to the bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=560,
        special_tokens=["<unk>", "<s>", "</s>"] + BYTE_TOKENS,
        limit_alphabet=90,
        show_progress=False,
    )
    words = [word for text in TRAINING_TEXT for word in ("\u2581" + text.replace(" ", " \u2581")).split(" ")]
    tokenizer.train_from_iterator(words if normalizer else TRAINING_TEXT, trainer)
    tokenizer.decoder = decoder
    # Training has made the bytes special; in the files that models ship they are not.
    config = json.loads(tokenizer.to_str())
    config["added_tokens"] = [token for token in config["added_tokens"] if token["content"] not in BYTE_TOKENS]
    tokenizer = Tokenizer.from_str(json.dumps(config))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=True), AddedToken("</tool_call>", normalized=False)])
    return tokenizer


def llama2_legacy():
    normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    return byte_fallback_bpe(normalizer=normalizer, decoder=llama_decoder(decoders.Strip(" ", 1, 0)))


def llama2():
    metaspace = pre_tokenizers.Metaspace("\u2581", prepend_scheme="first", split=False)
    return byte_fallback_bpe(pre_tokenizer=metaspace, decoder=llama_decoder(decoders.Strip(" ", 1, 0)))


def gemma():
    return byte_fallback_bpe(
        normalizer=normalizers.Replace(" ", "\u2581"),
        pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"),
        decoder=llama_decoder(),
    )


def unigram(normalizer, pre_tokenizer, decoder, byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    trainer = trainers.UnigramTrainer(
        vocab_size=330, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    if byte_fallback:
        config = json.loads(tokenizer.to_str())
        config["model"]["vocab"] += [[token, -20.0] for token in BYTE_TOKENS]
        config["model"]["byte_fallback"] = True
        tokenizer = Tokenizer.from_str(json.dumps(config))
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    return tokenizer


def t5():
    metaspace = pre_tokenizers.Metaspace("\u2581", prepend_scheme="always")
    return unigram(normalizers.NFKC(), metaspace, decoders.Metaspace("\u2581", prepend_scheme="always"))


def unigram_bytes():
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("\u2581", prepend_scheme="always")]
    decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("\u2581")])
    normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    return unigram(normalizer, pre_tokenizers.Sequence(steps), decoder, byte_fallback=True)


def normalized_bpe(normalizer, **model):
    """Words and punctuation, no bytes: unknown characters; tokens that are looked for in the normalized text."""
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    specials = ["[UNK]"] if "unk_token" in model else []
    tokenizer.train_from_iterator(
        TRAINING_TEXT, trainers.BpeTrainer(vocab_size=330, special_tokens=specials, show_progress=False)
    )
    tokenizer.add_tokens([AddedToken("Tool", normalized=True), AddedToken("The", normalized=True, rstrip=True)])
    return tokenizer


TOKENIZERS = {
    "gpt2": gpt2,
    "llama3": llama3,
    "qwen2": qwen2,
    "gpt4o": gpt4o,
    "deepseek": deepseek,
    "starcoder": starcoder,
    "split_removed": lambda: splits("removed"),
    "split_removed_inverted": lambda: splits("removed", invert=True),
    "split_merged_previous": lambda: splits("merged_with_previous"),
    "split_merged_next": lambda: splits("merged_with_next"),
    "split_contiguous": lambda: splits("contiguous"),
    "split_on_string": split_on_string,
    "onig_classes": onig_classes,
    "llama2_legacy": llama2_legacy,
    "llama2": llama2,
    "gemma": gemma,
    "t5": t5,
    "unigram_bytes": unigram_bytes,
    "nfc_unknown": lambda: normalized_bpe(normalizers.NFC(), unk_token="[UNK]"),
    "nfd_lower_fused": lambda: normalized_bpe(
        normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.Strip()]),
        unk_token="[UNK]",
        fuse_unk=True,
    ),
    "nfkd_vanishing": lambda: normalized_bpe(
        normalizers.Sequence([normalizers.NFKD(), normalizers.Replace(Regex(r"\p{Mn}+"), ""), normalizers.Strip(right=False)])
    ),
}


def record(tokenizer):
    cases = []
    for text in CORPUS:
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        added = tokenizer.encode(text, add_special_tokens=True).ids
        case = {"ids": plain}
        if added != plain:
            case["with_special"] = added
        decoded = tokenizer.decode(plain, skip_special_tokens=False)
        if decoded != text:
            case["decoded"] = decoded
        skipped = tokenizer.decode(plain, skip_special_tokens=True)
        if skipped != decoded:
            case["decoded_skipping"] = skipped
        cases.append(case)
    return cases


def decodings(tokenizer):
    """Ids that no text gives: broken characters, gaps, unknown ids."""
    size = tokenizer.get_vocab_size()
    lists = [[i] for i in range(0, min(size, 300), 19)]
    lists += [[(i * 37 + j * 101) % size for j in range(12)] for i in range(6)]
    lists += [[size + 5, 3, size + 9], []]
    return [[ids, tokenizer.decode(ids, skip_special_tokens=False)] for ids in lists]


class FixedDatetime(datetime.datetime):
    """What strftime_now sees."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 12, 34, 56, 789000)


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def render_chat(source, conversation):
    """As apply_chat_template does; its ranges are characters."""
    arguments = dict(conversation)
    messages = [{k: v for k, v in m.items() if v is not None} for m in arguments.pop("messages")]
    try:
        texts, ranges = chat_template_utils.render_jinja_template(
            [messages], chat_template=source, return_assistant_tokens_mask="generation" in source, **SPECIAL, **arguments
        )
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"text": texts[0]} | ({"ranges": ranges[0]} if "generation" in source else {})


def render_snippet(source):
    try:
        template = chat_template_utils._compile_jinja_template(source)
        return {"text": template.render(tools=None, documents=None, add_generation_prompt=False, **SPECIAL, **VARIABLES)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def make_chats():
    chat_template_utils.datetime = FixedDatetime
    templates = {}
    for path in sorted((HERE / "templates").glob("*.jinja")):
        source = path.read_text()
        templates[path.stem] = {name: render_chat(source, c) for name, c in CONVERSATIONS.items()}
    return {
        "conversations": CONVERSATIONS,
        "special_tokens": SPECIAL,
        "templates": templates,
        "variables": VARIABLES,
        "snippets": [{"source": source, **render_snippet(source)} for source in SNIPPETS],
    }


def make_unicode():
    """CRC-32 over every character, mapped; and over each with marks around it, normalized."""
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    hashes = {}
    for name in ("lower", "upper", "title", "capitalize"):
        hashes[name] = zlib.crc32("".join(getattr(c, name)() for c in characters).encode())
    for name in ("isprintable", "isalpha", "isdecimal", "isdigit", "isnumeric", "isupper", "islower", "isspace"):
        hashes[name] = zlib.crc32(bytes(getattr(c, name)() for c in characters))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        hashes[form] = zlib.crc32("".join(unicodedata.normalize(form, f"a{c}\u0323\u0301\u1161\u11a8") for c in characters).encode())
    return hashes


def main():
    folder = HERE / "tokenizers"
    folder.mkdir(exist_ok=True)
    goldens = {"corpus": CORPUS, "tokenizers": {}}
    for name, make in TOKENIZERS.items():
        tokenizer = make()
        text = tokenizer.to_str()
        (folder / f"{name}.json").write_text(json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")))
        goldens["tokenizers"][name] = {
            "vocab_size": max(tokenizer.get_vocab().values()) + 1,
            "cases": record(tokenizer),
            "decodings": decodings(tokenizer),
        }
    (HERE / "encodings.json").write_text(json.dumps(goldens, ensure_ascii=False, separators=(",", ":")))
    (HERE / "unicode.json").write_text(json.dumps(make_unicode(), indent=0) + "\n")
    (HERE / "chats.json").write_text(json.dumps(make_chats(), ensure_ascii=False, indent=0))


if __name__ == "__main__":
    main()
