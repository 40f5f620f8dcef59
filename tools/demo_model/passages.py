"""Short passages of loose facts about a few people, each fact with its questions.

They have no plot to lean on, so they train plain look-up among distractors.
"""

import grammar
import world
from stories import Question

_PLURALS = "apples cookies carrots pears plums buns nuts eggs muffins marbles books shells stones flowers".split()
_SPOTS = """under the bed;on the table;behind the door;in the garden;on the shelf;in the box;next to the chair;
under the tree;on the roof;in the basket;by the window;near the lake""".replace("\n", "").split(";")

# kind of fact -> (statement, [(kind of question, prompt, answer)])
_FACTS = {
    "owns": ("$name has {a|one} $color $item.", [
        ("has", "What does $name have?", "$name has a $color $item."),
        ("who", "Who has {the|a} $item?", "It is $name."),
        ("color", "What {color|colour} is {the|$name's} $item?", "The $item is $color."),
        ("yesno", "Is the $item $color?", "Yes, the $item is $color."),
        ("yesno", "Is the $item $color2?", "No, the $item is $color."),
    ]),
    "place": ("$name is $in_place.", [
        ("where", "Where is $name?", "$name is $in_place."),
        ("who", "Who is $in_place?", "It is $name."),
        ("yesno", "Is $name $in_place2?", "No, $name is $in_place."),
    ]),
    "count": ("$name has $number $plural.", [
        ("count", "How many $plural does $name have?", "$name has $number $plural."),
        ("who", "Who has $plural?", "It is $name."),
    ]),
    "likes": ("$name {likes|loves} $plural.", [
        ("has", "What does $name {like|love}?", "$name likes $plural."),
        ("who", "Who {likes|loves} $plural?", "It is $name."),
    ]),
    "kind": ("$name is a $kind.", [
        ("kind", "{What is|What kind of animal is} $name?", "$name is a $kind."),
        ("who", "Who is a $kind?", "It is $name."),
    ]),
    "spot": ("The $color $item is $spot.", [
        ("where", "Where is the $item?", "The $item is $spot."),
        ("color", "What {color|colour} is the $item?", "The $item is $color."),
        ("what", "What is $spot?", "It is the $color $item."),
    ]),
    "moved": ("$name {went|walked|ran} $to_place2. {Then|Later|After that} $he {went|walked|ran} $to_place.", [
        ("now", "Where is $name now?", "$name is $in_place."),
        ("now", "Where did $name go first?", "$name went $to_place2."),
    ]),
    "gave": ("$name had a $color $item. $He gave {it|the $item} to $other.", [
        ("now", "Who has the $item{ now|}?", "It is $other."),
        ("who", "Who gave the $item to $other?", "It is $name."),
        ("color", "What {color|colour} is the $item?", "The $item is $color."),
    ]),
}


def _draw_pairs(rng, split, size):
    """size + 1 names and size items; a held-out passage has a held-out pair, others have none."""
    while True:
        names = rng.sample(world.GIRLS + world.BOYS, size + 1)
        items = rng.sample(world.ITEMS if rng.random() < 0.8 else world.RARE_ITEMS, size)
        if any(map(world.held_out, names, items)) == (split == "heldout"):
            return names, items


def make_passage(rng, split, size):
    """(text, questions) of size facts, in which no name, item, place or plural occurs twice."""
    names, items = _draw_pairs(rng, split, size)
    places = rng.sample(sorted(world.PLACES), 2 * size)
    columns = zip(names, items, rng.sample(_PLURALS, size), rng.sample(_SPOTS, size), rng.sample(world.ANIMALS, size))
    common = [kind for kind in _FACTS if kind not in ("moved", "gave")]
    sentences, questions = [], []
    for i, (name, item, plural, spot, kind) in enumerate(columns):
        color, color2 = rng.sample(world.COLORS, 2)
        he = "she" if name in world.GIRLS else "he"
        statement, asks = _FACTS[rng.choice(common if rng.random() < 0.7 else ["moved", "gave"])]
        slots = {"name": name, "he": he, "item": item, "plural": plural, "spot": spot, "kind": kind, "color": color,
                 "color2": color2, "number": rng.choice(world.NUMBERS), "other": names[-1]}
        for suffix, place in (("", places[2 * i]), ("2", places[2 * i + 1])):
            slots |= {"to_place" + suffix: f"to the {place}", "in_place" + suffix: f"{world.PLACES[place]} the {place}"}
        sentences.append(grammar.expand(statement, slots, rng))
        questions += [Question(k, grammar.expand(p, slots, rng), grammar.expand(a, slots, rng)) for k, p, a in asks]
    stranger = rng.choice([n for n in world.GIRLS + world.BOYS if n not in names])
    if rng.random() < 0.3:
        questions.append(Question("absent", rng.choice((f"Where is {stranger}?", f"What does {stranger} have?")),
                                  f"I do not know. There is no {stranger} in the text."))
    rng.shuffle(questions)
    return " ".join(sentences), questions
