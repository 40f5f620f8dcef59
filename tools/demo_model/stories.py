"""Tells stories: loads stories/*.txt, draws a cast and expands one plot into a Story.

A plot file holds, one per line,
    theme, topics, feelings, places, items    "key: value", lists separated by |
    pick NAME = a | b          one value for the slot $NAME; "pick x/y = a/b | c/d" draws pairs
    phrase NAME = a | b        a shared phrase, usable as $NAME
    ask KIND: prompt => answer a question about the story; the prompt may have alternatives
and after "story:" its beats in order. A beat with "?" in front may be left out.
Every fact that a question asks for is in a beat that is never left out.
"""

import dataclasses
import pathlib

import grammar
import world

FOLDER = pathlib.Path(__file__).parent / "stories"


@dataclasses.dataclass
class Question:
    kind: str
    prompt: str
    answer: str


@dataclasses.dataclass
class Plot:
    name: str
    fields: dict
    picks: list      # (slot names, rows of values)
    phrases: dict
    beats: list      # (is optional, template)
    questions: list  # Question whose prompt and answer are templates
    thing_questions: list


@dataclasses.dataclass
class Story:
    plot: Plot
    text: str
    slots: dict

    def questions(self, rng):
        """One question of each kind that this story can answer, in random order."""
        absent_item = next(i for i in iter(lambda: rng.choice(world.ITEMS), None) if i not in self.text)
        absent_name = next(n for n in iter(lambda: rng.choice(world.GIRLS + world.BOYS), None) if n not in self.text)
        slots = self.slots | {"absent_item": absent_item, "absent_name": absent_name}
        templates = COMMON.questions + self.plot.questions
        if grammar.finish(f"{slots['color']} {slots['item']}").lower() in self.text.lower():
            templates = templates + COMMON.thing_questions
        one_per_kind = {q.kind: q for q in rng.sample(templates, len(templates))}
        return [Question(q.kind, grammar.expand(q.prompt, slots, rng), grammar.expand(q.answer, slots, rng))
                for q in rng.sample(list(one_per_kind.values()), len(one_per_kind))]


def _split(text):
    return [part.strip() for part in text.split("|")]


def _parse_pick(line):
    names, values = line.removeprefix("pick ").split(" = ")
    return names.split("/"), [row.split("/") for row in _split(values)]


def load_plot(path):
    plot = Plot(path.stem, {}, [], {}, [], [], [])
    in_story = False
    for line in path.read_text().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line in ("story:", "questions:"):
            in_story = line == "story:"
        elif line.startswith("pick "):
            plot.picks.append(_parse_pick(line))
        elif line.startswith("phrase "):
            name, value = line.removeprefix("phrase ").split(" = ", 1)
            plot.phrases[name] = "{" + value + "}"
        elif line.startswith(("ask ", "ask-thing ")):
            kind, rest = line.split(" ", 1)[1].split(": ", 1)
            question = Question(kind, *rest.split(" => "))
            (plot.thing_questions if line.startswith("ask-thing") else plot.questions).append(question)
        elif in_story:
            plot.beats.append((line.startswith("? "), line.removeprefix("? ")))
        else:
            key, value = line.split(": ", 1)
            plot.fields[key] = value
    return plot


COMMON = load_plot(FOLDER / "common.txt")
PLOTS = [load_plot(path) for path in sorted(FOLDER.glob("*.txt")) if path.stem != "common"]


def _places(plot):
    wanted = plot.fields.get("places", "any")
    if wanted == "any":
        return tuple(world.PLACES)
    return tuple(world.OUTDOORS) if wanted == "outdoor" else tuple(_split(wanted))


def _draw_slots(plot, rng, split):
    items = _split(plot.fields["items"]) if "items" in plot.fields else None
    hero, friend, item = world.make_cast(rng, split, items)
    place = rng.choice(_places(plot))
    color, color2, other_color = rng.sample(world.COLORS, 3)
    slots = COMMON.phrases | plot.phrases | world.being_slots(hero) | world.being_slots(friend, prefix="f")
    slots |= {
        "trait": rng.choice(world.TRAITS), "ftrait": rng.choice(world.TRAITS),
        "item": item, "color": color, "thing": "$color $item", "other_color": other_color,
        "item2": rng.choice([i for i in world.ITEMS if i != item]), "color2": color2, "thing2": "$color2 $item2",
        "place": f"the {place}", "to_place": f"to the {place}", "in_place": f"{world.PLACES[place]} the {place}",
        "food": rng.choice(world.FOODS),
        "other_kind": rng.choice([k for k in world.ANIMALS if k not in (hero.kind, friend.kind)]),
        "feeling": rng.choice(_split(plot.fields["feelings"])), "theme": plot.fields["theme"],
    }
    for names, rows in plot.picks:
        slots |= dict(zip(names, rng.choice(rows)))
    return slots


def tell(rng, split, detail=0.5, plot=None):
    """A new story; detail is the share of optional beats that it keeps."""
    plot = plot or rng.choice(PLOTS)
    slots = _draw_slots(plot, rng, split)
    beats = [beat for optional, beat in plot.beats if not optional or rng.random() < detail]
    return Story(plot, " ".join(grammar.expand(beat, slots, rng) for beat in beats), slots)


_SUBJECTS = (
    "a $kind", "a $kind", "a $trait $kind", "a $kind named $hero", "a $kind called $hero", "$hero", "$hero and $friend",
    "a $kind and a $fkind", "$hero the $kind", "a $kind who goes $to_place", "a $kind $in_place",
)
_THING_SUBJECTS = ("a $item", "a $thing", "a $kind and a $item", "a $kind and a $thing", "a $kind named $hero and a $item")


def subject(story, rng):
    """What the story is about, as somebody who asks for it would say."""
    roll = rng.random()
    if roll < 0.25:
        template = rng.choice(_split(story.plot.fields["topics"]))
    elif roll < 0.5 and story.slots["item"] in story.text and f"{story.slots['color']} {story.slots['item']}" in story.text:
        template = rng.choice(_THING_SUBJECTS)
    else:
        template = rng.choice(_SUBJECTS)
    text = grammar.expand(template, story.slots, rng)
    return text if template.startswith("$hero") else text[0].lower() + text[1:]
