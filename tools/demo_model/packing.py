"""From documents to batches: token ids, loss weights, and rows packed without mixing documents."""

import random

import numpy as np
import torch

import corpus

# In the order of build_tokenizer.SPECIALS.
BOS, EOS, SYSTEM, USER, ASSISTANT, END, PAD = range(7)
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
# Answers are a few tokens among many of stories, so each counts threefold.
SHORT_ANSWER_TOKENS = 32
SHORT_ANSWER_WEIGHT = 3.0
# What users say is half names and things to be copied from the story, half surprise.
USER_WEIGHT = 0.1


def encode(document, tokenizer):
    """(ids, weights), equally long; weights[i] is the weight of predicting ids[i]; 0 for role tokens."""
    def tokens(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    if isinstance(document, str):
        ids = [BOS, *tokens(document), EOS]
        return ids, [0.0] + [1.0] * (len(ids) - 1)
    ids, weights = [BOS], [0.0]
    for turn in document:
        content = [*tokens(turn.content), END]
        weight = USER_WEIGHT
        if turn.role == "assistant":
            weight = SHORT_ANSWER_WEIGHT if len(content) <= SHORT_ANSWER_TOKENS else 1.0
        ids += [ROLES[turn.role], *content]
        weights += [0.0] + [weight] * len(content)
    return ids, weights


def pack(encoded, length):
    """Best fit, longest first: lists of encoded documents whose lengths sum to at most length."""
    rows = []  # [space left, documents]
    for document in sorted(encoded, key=lambda d: -len(d[0])):
        size = len(document[0])
        fitting = [row for row in rows if row[0] >= size]
        row = min(fitting, key=lambda r: r[0]) if fitting else [length, []]
        if not fitting:
            rows.append(row)
        row[0] -= size
        row[1].append(document)
        if row[0] < 8:
            rows.remove(row)
            yield row[1]
    yield from (row[1] for row in rows)


def collate(rows, length):
    """Tensors of a batch; positions restart and segments change at each document."""
    shape = (len(rows), length)
    ids = np.full(shape, PAD, np.int64)
    weights = np.zeros(shape, np.float32)
    positions = np.zeros(shape, np.int64)
    segments = np.zeros(shape, np.int64)
    for r, row in enumerate(rows):
        at = 0
        for s, (doc_ids, doc_weights) in enumerate(row, start=1):
            span = slice(at, at + len(doc_ids))
            ids[r, span], weights[r, span], segments[r, span] = doc_ids, doc_weights, s
            positions[r, span] = np.arange(len(doc_ids))
            at = span.stop
    return [torch.from_numpy(a) for a in (ids, weights, positions, segments)]


def pool_batches(tokenizer, seed, split, index, batch_tokens, lengths=(320, 768)):
    """The batches of one pool, in seeded order. Incomplete batches are dropped."""
    encoded = [encode(d, tokenizer) for d in corpus.pool(seed, split, index)]
    batches, shorter = [], 0
    for length in lengths:
        fitting = [d for d in encoded if shorter < len(d[0]) <= length]
        rows = list(pack(fitting, length))
        rng = random.Random(f"{seed}/{index}/{length}")
        rng.shuffle(rows)
        size = max(1, batch_tokens // length)
        batches += [collate(rows[i : i + size], length) for i in range(0, len(rows) - size + 1, size)]
        shorter = length
    random.Random(f"{seed}/{index}").shuffle(batches)
    return batches
