"""The world the stories happen in, and the cast of one story.

Held-out rule: the pair (hero, item) decides the split, so no held-out story tells of
a hero and a thing that training ever put together.
"""

import dataclasses
import pathlib
import zlib

FOLDER = pathlib.Path(__file__).parent

GIRLS = """Lily Mia Anna Emma Sara Zoe Ella Lucy Rosie Nina Clara Ivy Maya Ruby Alice Daisy
Hazel Molly Nora Tess Bella Jane Kate Amy Sophie Olivia Grace Eva Leah Luna""".split()
BOYS = """Tom Ben Max Sam Leo Jack Finn Noah Oscar Theo Luke Adam Eli Hugo Toby Peter Jim
Will Dan Henry Lucas Owen Paul Billy Felix Simon Mark Ryan Alex Joe""".split()
PETS = """Pip Momo Bubbles Coco Milo Teddy Nibbles Fluffy Biscuit Pepper Ollie Patch Tiny
Buddy Rusty Ginger Sunny Pebble Dot Hoppy Waffles Bramble Poppy Clover""".split()
SYLLABLES = "ba be bo da do fi ga ka ki ko la li lo lu ma mi mo na ni no pa po ra ri ro sa ta ti to va zi zo".split()

ANIMALS = """fox rabbit bear cat dog mouse duck frog owl hedgehog squirrel turtle pig cow horse
sheep goat bird elephant lion tiger monkey penguin panda kitten puppy snail giraffe bee
chicken wolf deer beaver koala hippo crab""".split()
RARE_KINDS = """dragon robot fairy wizard unicorn giant monster mermaid pirate princess prince king queen knight
dinosaur kangaroo zebra camel whale snake spider ant lizard parrot swan goose donkey raccoon bat ghost elf witch doctor
farmer teacher baker painter sailor astronaut clown ninja superhero""".split()
TRAITS = "little small kind brave clever funny shy curious cheerful quiet young gentle playful".split()
COLORS = "red blue green yellow orange purple pink white black brown gray golden silver".split()
NUMBERS = "two three four five six seven eight nine ten".split()

# RARE_ITEMS appear in one story out of six: they teach the model to carry a word that it
# hardly knows from the request into the story.
ITEMS = """ball;kite;hat;scarf;toy boat;box;book;drum;cup;bell;balloon;bag;blanket;button;toy car;
coat;crown;doll;feather;flag;flute;key;lamp;lantern;marble;necklace;pencil;ribbon;ring;rope;sock;
shell;spoon;stone;teapot;toy train;umbrella;wagon;whistle;bucket;shovel;basket""".replace("\n", "").split(";")
RARE_ITEMS = FOLDER.joinpath("nouns.txt").read_text().split() + """teddy bear;flower pot;bowl;brush;candle;clock;coin;
dress;glove;hammer;horn;jar;jug;mask;mirror;mitten;plate;puppet;puzzle;sled;shirt;shoe;ticket;towel;trumpet;vase;violin;
wand;watch;guitar;skateboard;scooter;paintbrush;camera;compass;map;telescope;magnet;card;pen;ruler;notebook;broom;kettle;
ladder;belt;bottle;bow;chair;chain;cloak;cushion;egg;gem;harp;helmet;leaf;locket;pan;pot;quilt;rocket;shield;slipper;
stool;sweater;sword;tray;wheel;backpack;bracelet;cap;fan;fork;jacket;mug;pillow;purse""".replace("\n", "").split(";")
FOODS = """apple bun cake carrot cookie pear pie sandwich plum peach muffin banana pancake
pretzel waffle cupcake""".split()

OUTDOORS = {"park": "in", "garden": "in", "forest": "in", "beach": "at", "farm": "at", "river": "by",
            "lake": "by", "hill": "on", "meadow": "in", "playground": "at", "pond": "by", "field": "in",
            "mountain": "on", "bridge": "on", "island": "on", "yard": "in", "zoo": "at", "market": "at"}
INDOORS = {"kitchen": "in", "school": "at", "barn": "in", "library": "in", "castle": "in", "attic": "in",
           "cave": "in", "toy shop": "in", "station": "at", "bakery": "in", "museum": "in", "tower": "in"}
PLACES = OUTDOORS | INDOORS

PRONOUNS = {"girl": ("she", "her", "her"), "boy": ("he", "him", "his")}


# Share of characters whose name is made up, so that the model learns to copy names it never saw.
INVENTED_SHARE = 0.12


def held_out(name, item):
    """True for about one pair in twelve; a hash, so that it never depends on list order."""
    return zlib.crc32(f"{name}/{item}".encode()) % 12 == 0


@dataclasses.dataclass
class Being:
    """A character: name, kind ("girl", "fox") and gender ("girl" or "boy", for pronouns)."""
    name: str
    kind: str
    gender: str


def make_name(rng):
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()


def make_being(rng, taken=()):
    gender = rng.choice(("girl", "boy"))
    people = GIRLS if gender == "girl" else BOYS
    kind = gender if rng.random() < 0.55 else rng.choice(ANIMALS if rng.random() < 0.75 else RARE_KINDS)
    while True:
        roll = rng.random()
        if roll < INVENTED_SHARE:
            name = make_name(rng)
        elif kind == gender or roll < 0.4:
            name = rng.choice(people)
        else:
            name = rng.choice(PETS)
        if name not in taken:
            return Being(name, kind, gender)


def make_item(rng):
    return rng.choice(ITEMS if rng.random() < 0.84 else RARE_ITEMS)


def make_cast(rng, split, items=None):
    """(hero, friend, item) for the split, "train" or "heldout"; items limits the choice."""
    while True:
        hero = make_being(rng)
        item = rng.choice(items) if items else make_item(rng)
        if held_out(hero.name, item) == (split == "heldout"):
            return hero, make_being(rng, taken=(hero.name,)), item


def being_slots(being, prefix=""):
    """The slots of one character: $hero $kind $he $him $his, or $friend $fkind $fhe ..."""
    he, him, his = PRONOUNS[being.gender]
    names = ("hero", "kind", "he", "him", "his") if not prefix else ("friend", "fkind", "fhe", "fhim", "fhis")
    return dict(zip(names, (being.name, being.kind, he, him, his)))
