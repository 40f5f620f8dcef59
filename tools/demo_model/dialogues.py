"""Conversations: lists of Turn, ready for the chat template.

Assistant turns that have exactly one right answer carry the kind of their question, so
that eval.py can score them; free answers (stories, greetings) carry none.
"""

import dataclasses

import grammar
import passages
import stories
import talk

_REQUESTS = (
    "Tell me {a|a|a little} {$length|} story about $subject{.|}",
    "{Can|Could} you tell me a {$length|} story about $subject?",
    "Please {tell me|write} a {$length|} story about $subject{.|}",
    "{Write|Make up} a {$length|} story about $subject{.|}",
    "{I want|I would like} {to hear |}a {$length|} story about $subject{.| please.}",
    "{A|One} {$length|} story about $subject, please{.|}",
)
_AGAIN = (
    "{Another|One more} story, please{.|}", "Tell me another {story|one}{.|}", "{Another|One more} one, about $subject{.|}",
    "Now tell me {a story|one} about $subject{.|}",
)
_YES = ("Yes{, please|}{.|}", "{Yes|Sure}, about $subject{.|}", "{Sure|OK|Of course}", "Yes, tell me {a story|one}{.|}")
_OPEN = ("Tell me a story{.|}", "{Can|Could} you tell me a story?", "A story, please{.|}", "Please tell me a story{.|}")
_SYSTEM = (
    "You are a helpful assistant.", "You are a storyteller for children.", "You tell little stories.",
    "Answer in short sentences.", "You are a friendly assistant. You tell stories and answer questions.",
)


@dataclasses.dataclass
class Turn:
    role: str
    content: str
    kind: str = ""


def _casual(text, rng):
    """As people type: now and then without capitals or the last mark."""
    if rng.random() < 0.05:
        text = text.lower()
    return text.rstrip(".?!") if rng.random() < 0.12 else text


def _exchange(prompt, answer, rng, kind=""):
    return [Turn("user", _casual(prompt, rng)), Turn("assistant", answer, kind)]


def _request(templates, story, detail, rng):
    length = {0.0: "short", 1.0: "long"}.get(detail, "")
    slots = {"length": length, "subject": stories.subject(story, rng)}
    return grammar.expand(rng.choice(templates), slots, rng)


def _small(rng):
    """One exchange of small talk or about a simple fact."""
    if rng.random() < 0.5:
        _, prompt, answer = talk.small_talk(rng)
        return _exchange(prompt, answer, rng)
    kind, prompt, answer = talk.simple_fact(rng)
    return _exchange(prompt, answer, rng, f"fact {kind}")


def _told_story(rng, split, templates):
    """The user asks for a story, hears it and asks about it."""
    detail = rng.choice((0.0, 0.5, 0.5, 1.0))
    story = stories.tell(rng, split, detail)
    turns = _exchange(_request(templates, story, detail, rng), story.text, rng)
    for q in story.questions(rng)[: rng.choice((0, 3, 4, 6, 8, 10))]:
        turns += _exchange(q.prompt, q.answer, rng, f"story {q.kind}")
    return turns + (_small(rng) if rng.random() < 0.1 else [])


def story_chat(rng, split, stories_told=1):
    roll = rng.random()
    if roll < 0.15:
        turns = _exchange(*talk.small_talk(rng, "hello")[1:], rng)
    else:
        turns = _small(rng) if roll < 0.25 else []
    offered = turns and "story" in turns[-1].content and turns[-1].content.endswith("?")
    opening = _YES if offered and rng.random() < 0.6 else _OPEN if rng.random() < 0.12 else _REQUESTS
    turns += _told_story(rng, split, opening)
    for _ in range(stories_told - 1):
        turns += _told_story(rng, split, _AGAIN)
    if rng.random() < 0.3:
        turns += _exchange(*talk.small_talk(rng, rng.choice(("thanks", "praise", "bye")))[1:], rng)
    return turns


def passage_chat(rng, split, size=None):
    """The user brings the text: loose facts, or a story; and asks about it."""
    if size or rng.random() < 0.7:
        text, questions = passages.make_passage(rng, split, size or rng.choice((1, 2, 2, 3, 3, 4, 5)))
        source = "passage"
    else:
        story = stories.tell(rng, split, detail=0.0)
        text, questions, source = story.text, story.questions(rng), "story"
    first, *rest = questions[: rng.choice((2, 4, 6, 8))]
    question = _casual(first.prompt, rng)
    frame = rng.choice(("$text $question", "$text\n$question", "$text\n\n$question", "$question\n$text",
                        "Read this: $text\n$question", "Here is a text: $text $question"))
    prompt = frame.replace("$text", text).replace("$question", question)
    turns = [Turn("user", prompt), Turn("assistant", first.answer, f"{source} {first.kind}")]
    for q in rest:
        turns += _exchange(q.prompt, q.answer, rng, f"{source} {q.kind}")
    return turns


def continue_chat(rng, split):
    """The user begins a story, the assistant goes on."""
    text = stories.tell(rng, split).text
    cut = text.index(". ") + 1
    ask = grammar.expand("{Continue this story|Go on with this story|Finish this story|How does this story go on}", {}, rng)
    return [Turn("user", f"{ask}: {text[:cut]}"), Turn("assistant", text[cut + 1:])]


def small_chat(rng):
    turns = []
    if rng.random() < 0.15:
        system, prompt, answer = talk.persona(rng)
        turns = [Turn("system", system), *_exchange(prompt, answer, rng, "persona")]
    elif rng.random() < 0.15:
        (hello, welcome), (ask, answer) = talk.introduction(rng)
        turns = _exchange(hello, welcome, rng) + _exchange(ask, answer, rng, "user's name")
    for _ in range(rng.choice((1, 2, 3, 4, 5, 6))):
        turns += _small(rng)
    return turns


def add_system(turns, rng):
    """Puts a harmless system prompt in front of some conversations."""
    if turns[0].role == "system" or rng.random() > 0.15:
        return turns
    return [Turn("system", rng.choice(_SYSTEM)), *turns]
