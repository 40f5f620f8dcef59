"""The template language every text of the corpus is written in.

    {a|b|c}   one of the alternatives; may nest, and an alternative may be empty
    $name     a slot; $Name is the same slot with its first letter in upper case

A slot's value is itself a template, so shared phrases are slots too. After expansion
`finish` repairs what templates cannot know: "a" or "an", capitals, doubled spaces.
"""

import functools
import re

_TOKEN = re.compile(r"\$([A-Za-z_][A-Za-z_0-9]*)|([{|}])|([^${|}]+)")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])(?!uni|use|one\b)")
_SENTENCE_START = re.compile(r'(^"?|[.!?] "?)([a-z])')


@functools.lru_cache(maxsize=None)
def parse(template):
    """Returns a sequence: str is literal, ("slot", name), ("choice", [sequences])."""
    stack = [[[]]]  # open choices; each a list of alternatives; each a sequence
    for slot, mark, text in _TOKEN.findall(template):
        if slot:
            stack[-1][-1].append(("slot", slot))
        elif mark == "{":
            stack.append([[]])
        elif mark == "|" and len(stack) > 1:
            stack[-1].append([])
        elif mark == "}" and len(stack) > 1:
            choice = ("choice", stack.pop())
            stack[-1][-1].append(choice)
        elif mark:
            raise ValueError(f"unbalanced {mark!r} in template {template!r}")
        else:
            stack[-1][-1].append(text)
    if len(stack) != 1:
        raise ValueError(f"missing '}}' in template {template!r}")
    return stack[0][0]


def _expand(sequence, slots, rng, out):
    for part in sequence:
        if isinstance(part, str):
            out.append(part)
        elif part[0] == "choice":
            _expand(rng.choice(part[1]), slots, rng, out)
        else:
            name = part[1]
            value = "".join(_expand(parse(slots[name.lower()]), slots, rng, []))
            out.append(value[:1].upper() + value[1:] if name[0].isupper() else value)
    return out


def expand(template, slots, rng):
    """One random expansion of the template, finished."""
    return finish("".join(_expand(parse(template), slots, rng, [])))


def finish(text):
    text = re.sub(r" +", " ", text).strip()
    text = _ARTICLE.sub(r"\1n ", text)
    return _SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text)
