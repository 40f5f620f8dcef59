"""Small talk and simple facts, from talk.txt.

A "fact" line is followed by indented rows "a / b | a / b" that fill $a and $b, so each
row is one fact with all the ways to ask for it.
"""

import pathlib

import grammar
import world

_PERSONAS = "friendly happy kind cheerful wise sleepy funny".split()


def _load(path):
    """Returns ([(kind, prompt, answer)] small talk, {kind: [(prompt, answer, row)]} facts)."""
    talk, facts = [], {}
    for line in path.read_text().splitlines():
        if line.startswith(("talk ", "fact ")):
            kind, rest = line.split(" ", 1)[1].split(": ", 1)
            prompt, answer = rest.split(" => ")
            if line.startswith("talk "):
                talk.append((kind, prompt, answer))
        elif line.startswith("  "):
            rows = [dict(zip("ab", cell.strip().split(" / "))) for cell in line.split("|")]
            facts.setdefault(kind, []).extend((prompt, answer, row) for row in rows)
    return talk, facts


TALK, FACTS = _load(pathlib.Path(__file__).with_name("talk.txt"))


def small_talk(rng, kind=None):
    """(kind, what the user says, a fitting answer)."""
    kind, prompt, answer = rng.choice([t for t in TALK if kind in (None, t[0])])
    return kind, grammar.expand(prompt, {}, rng), grammar.expand(answer, {}, rng)


def simple_fact(rng):
    """(kind, question, answer); half the time by kind, half by row: short and long tables are both learned."""
    kind = rng.choice(sorted(FACTS) if rng.random() < 0.5 else [k for k, rows in FACTS.items() for _ in rows])
    prompt, answer, row = rng.choice(FACTS[kind])
    return kind, grammar.expand(prompt, row, rng), grammar.expand(answer, row, rng)


def persona(rng):
    """(system prompt, question, answer) for an assistant that was given a name."""
    being = world.make_being(rng)
    slots = {"name": being.name, "what": f"{rng.choice(_PERSONAS)} {being.kind}"}
    return (grammar.expand("You are $name, a $what{.| who tells stories.| who likes to help.}", slots, rng),
            grammar.expand("{Who are you?|What is your name?|What's your name?|Tell me about yourself.}", slots, rng),
            grammar.expand("I am $name, a $what.", slots, rng))


def introduction(rng):
    """Two exchanges: the user gives a name, then asks for it."""
    name = rng.choice(world.GIRLS + world.BOYS) if rng.random() > world.INVENTED_SHARE else world.make_name(rng)
    hello = "{My name is $name.|I am $name.|Hello, I am $name.|Hi, my name is $name.}"
    exchanges = ((hello, "Hello, $name! {What would you like to hear?|Would you like a story?}"),
                 ("{What is my name?|Do you know my name?|Who am I?|What's my name?}", "Your name is $name."))
    return [tuple(grammar.expand(text, {"name": name}, rng) for text in exchange) for exchange in exchanges]
