"""The corpus: an endless, seeded stream of documents, cut into numbered pools.

Pool i of a split depends on (seed, split, i) alone, so training resumes anywhere.
"""

import random

import dialogues
import stories

# kind of document -> share of documents. Stories are longest, so most tokens are theirs.
MIXTURE = {"story": 0.08, "story chat": 0.33, "two stories": 0.02, "passage": 0.40, "long passage": 0.01,
           "continue": 0.03, "small": 0.13}
# The first pools of training: short contexts whose answers must be copied, before stories come in.
EARLY_POOLS = 4
EARLY = {"story chat": 0.12, "passage": 0.72, "small": 0.16}


def _document(kind, rng, split):
    """A str (plain story) or a list of turns (conversation)."""
    if kind == "story":
        return stories.tell(rng, split, rng.choice((0.0, 0.5, 1.0))).text
    if kind == "story chat":
        turns = dialogues.story_chat(rng, split)
    elif kind == "two stories":
        turns = dialogues.story_chat(rng, split, stories_told=rng.choice((2, 2, 3)))
    elif kind == "passage":
        turns = dialogues.passage_chat(rng, split)
    elif kind == "long passage":
        turns = dialogues.passage_chat(rng, split, size=rng.choice((8, 12)))
    elif kind == "continue":
        turns = dialogues.continue_chat(rng, split)
    else:
        turns = dialogues.small_chat(rng)
    return dialogues.add_system(turns, rng)


def pool(seed, split, index, size=1024):
    """The index-th pool of documents of a split, "train" or "heldout"."""
    rng = random.Random(f"{seed}/{split}/{index}")
    mixture = EARLY if split == "train" and index < EARLY_POOLS else MIXTURE
    kinds = rng.choices(list(mixture), list(mixture.values()), k=size)
    return [_document(kind, rng, split) for kind in kinds]


def plain(document):
    """The bare text of a document, for the tokenizer."""
    return document if isinstance(document, str) else "\n".join(turn.content for turn in document)
