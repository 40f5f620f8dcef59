"""Initial weights that can copy: token by token, a hand-laid circuit that training then refines.

Copying what stood behind an earlier occurrence of a word takes two attention layers that fit each
other. Small models find that only after many tokens; this lays it as a start. The hidden dimensions
are divided: tokens start in the first ones, layer 0 writes the previous token into BEFORE, the one
before that into BEFORE2, and layer 1 looks for keys whose BEFORE is the current token.
"""

import math

import torch

TOKEN = slice(0, 160)
BEFORE, BEFORE2, BEFORE_B = slice(160, 192), slice(192, 224), slice(224, 255)
CONSTANT = 255  # the same for all tokens, so that queries can depend on the position alone
_CONSTANT_SIZE = 0.5
_NORM = (1 + _CONSTANT_SIZE**2) ** 0.5
# Rotary pairs from here on turn so slowly that they match content at any distance in a document.
_SLOW = 8


def _orthonormal(rows, cols):
    return torch.nn.init.orthogonal_(torch.empty(rows, cols))


def token_embeddings(texts, hidden):
    """Norm 1 in TOKEN; spellings of one word (capital or not, space before it or not) start near each other."""
    width = TOKEN.stop
    words = {}
    shared = torch.stack([words.setdefault(t.removeprefix("Ġ").lower(), torch.randn(width)) for t in texts])
    vectors = torch.zeros(len(texts), hidden)
    vectors[:, TOKEN] = (0.75 * shared + 0.66 * torch.randn(len(texts), width)) / width**0.5
    vectors[:, CONSTANT] = _CONSTANT_SIZE
    return vectors


class _Heads:
    """One layer's attention weights, addressed by head."""

    def __init__(self, attention, head_dim):
        self.size = head_dim
        self.w = {name: getattr(attention, f"{name}_proj").weight.data for name in "qkvo"}

    def rows(self, name, head):
        return self.w[name][head * self.size : (head + 1) * self.size]

    def out(self, head):
        return self.w["o"][:, head * self.size : (head + 1) * self.size]


def _look_back(layer, head, kv, distance):
    """Attend to the token at this distance: a query turned by as many positions as the key is behind."""
    half = layer.size // 2
    q, k = layer.rows("q", head), layer.rows("k", kv)
    q.zero_(), k.zero_()
    for i in range(6):
        size = (60.0 if i == 0 else 30.0) ** 0.5 * _NORM / (_CONSTANT_SIZE * 16)
        angle = distance * 10000.0 ** (-i / half)
        k[i, CONSTANT] = size
        q[i, CONSTANT], q[i + half, CONSTANT] = size * math.cos(angle), -size * math.sin(angle)


def _match(layer, head, kv, parts, strength=1.8):
    """Score by likeness: parts are (query's dims, its map, key's dims, its map), maps onto equal widths."""
    half = layer.size // 2
    slots = [i for pair in range(_SLOW, half) for i in (pair, pair + half)]
    q, k = layer.rows("q", head), layer.rows("k", kv)
    q.zero_(), k.zero_()
    for query_dims, query_map, key_dims, key_map in parts:
        mine, slots = slots[: len(query_map)], slots[len(query_map) :]
        q[mine, query_dims], k[mine, key_dims] = strength * query_map, strength * key_map


def wire(layers, head_dim):
    """Sets some heads of the first two layers; the others keep their weights."""
    tokens = TOKEN.stop
    first, second = (_Heads(layer.self_attn, head_dim) for layer in layers[:2])
    seen_a, seen_b = _orthonormal(32, tokens), _orthonormal(32, tokens)
    for head, kv, distance, seen, into in ((0, 0, 1, seen_a, BEFORE), (1, 0, 2, seen_a, BEFORE2), (2, 1, 1, seen_b, BEFORE_B)):
        _look_back(first, head, kv, distance)
        first.rows("v", kv).zero_()[:, TOKEN] = seen * _NORM / 16
        width = into.stop - into.start
        first.out(head).zero_()[into, :width] = torch.eye(width)

    # What followed the current token; with what; with the token before matching too.
    mix, mix_b = _orthonormal(16, 32), _orthonormal(16, 31)
    copies = (
        (0, 0, [(TOKEN, mix @ seen_a, BEFORE, mix)]),
        (2, 1, [(TOKEN, mix_b @ seen_b[:31], BEFORE_B, mix_b)]),
        (4, 2, [(TOKEN, mix[:8] @ seen_a, BEFORE, mix[:8]), (BEFORE, mix[8:], BEFORE2, mix[8:])]),
    )
    for head, kv, parts in copies:
        _match(second, head, kv, parts)
        value = _orthonormal(32, tokens)
        second.rows("v", kv).zero_()[:, TOKEN] = value / 12
        second.out(head).zero_()[TOKEN] = 2.5 * value.T
    # What stood before an earlier occurrence of the previous token.
    _match(second, 6, 3, [(BEFORE, mix, TOKEN, mix @ seen_a)])
    second.rows("v", 3).zero_()[:, BEFORE] = torch.eye(32) / 12
    second.out(6).zero_()[TOKEN] = seen_a.T
