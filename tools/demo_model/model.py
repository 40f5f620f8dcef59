"""The model: a plain LlamaForCausalLM, run on packed rows; and its loss."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import wiring
from build_tokenizer import MAX_CONTEXT, VOCAB_SIZE
from packing import BOS, END, EOS, PAD

ARCHITECTURE = dict(
    vocab_size=VOCAB_SIZE, hidden_size=256, intermediate_size=704, num_hidden_layers=6, num_attention_heads=8,
    num_key_value_heads=4, head_dim=32, max_position_embeddings=MAX_CONTEXT, rms_norm_eps=1e-5, hidden_act="silu",
    tie_word_embeddings=True, attention_bias=False, mlp_bias=False, attention_dropout=0.0, initializer_range=0.02)

# Written by hand, so that the files do not depend on the version of transformers.
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **ARCHITECTURE, "rope_theta": 10000.0,
          "rope_scaling": None, "bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD,
          "use_cache": True, "torch_dtype": "bfloat16"}
GENERATION_CONFIG = {"bos_token_id": BOS, "eos_token_id": [END, EOS], "pad_token_id": PAD,
                     "do_sample": True, "temperature": 0.7, "top_p": 0.9}


def make_model(tokens):
    """A fresh model for these tokens (their texts by id), its initial weights made to copy early.

    Each head's output projection is the transpose of its value projection: what a head looks at
    becomes more likely. wiring.py makes the embeddings and lays the first heads.
    """
    model = LlamaForCausalLM(LlamaConfig(**ARCHITECTURE, bos_token_id=BOS, eos_token_id=END, pad_token_id=PAD))
    hidden, heads, kv_heads = (ARCHITECTURE[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    model.model.embed_tokens.weight.data.copy_(wiring.token_embeddings(tokens, hidden))
    for layer in model.model.layers:
        torch.nn.init.orthogonal_(layer.self_attn.v_proj.weight)
        values = layer.self_attn.v_proj.weight.data.view(kv_heads, -1, hidden)
        outputs = values.repeat_interleave(heads // kv_heads, dim=0).reshape(-1, hidden).T
        layer.self_attn.o_proj.weight.data.copy_(0.02 * outputs)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    wiring.wire(model.model.layers, ARCHITECTURE["head_dim"])
    return model


def attention_mask(segments, dtype):
    """[rows, length] document numbers -> [rows, 1, length, length], 0 where a token may look, else very small."""
    length = segments.size(1)
    same = segments[:, :, None] == segments[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return torch.zeros(same.shape, dtype=dtype, device=segments.device).masked_fill(~(same & causal), -1e30)[:, None]


class WeightedLoss(torch.autograd.Function):
    """sum(weight * cross entropy) in slices: the logits of a slice stay in cache, and its gradient is
    taken at once instead of being stored. hidden [n, hidden], head [vocab, hidden], targets and weights [n]."""

    @staticmethod
    def forward(ctx, hidden, head, targets, weights, slice_size=512):
        total = hidden.new_zeros(())
        d_hidden, d_head = torch.empty_like(hidden), torch.zeros_like(head)
        for at in range(0, len(hidden), slice_size):
            span = slice(at, at + slice_size)
            h, t, w = hidden[span], targets[span, None], weights[span, None]
            logits = h @ head.T
            log_z = logits.logsumexp(-1, keepdim=True)
            total += (w * (log_z - logits.gather(1, t))).sum()
            d_logits = logits.sub_(log_z).exp_()
            d_logits.scatter_add_(1, t, -torch.ones_like(w)).mul_(w)
            torch.mm(d_logits, head, out=d_hidden[span])
            d_head.addmm_(d_logits.T, h)
        ctx.save_for_backward(d_hidden, d_head)
        return total

    @staticmethod
    def backward(ctx, grad):
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * grad, d_head * grad, None, None, None


def batch_loss(body, head, batch):
    """Weighted mean loss of a batch; body maps token ids to the final hidden states."""
    ids, weights, positions, segments = batch
    hidden = body(input_ids=ids, attention_mask=attention_mask(segments, torch.float32), position_ids=positions,
                  use_cache=False).last_hidden_state
    # Row position i predicts i + 1; only tokens that count go through the head.
    counted = weights[:, 1:] > 0
    weights = weights[:, 1:][counted]
    with torch.autocast(ids.device.type, enabled=False):  # the slices write into fp32
        return WeightedLoss.apply(hidden[:, :-1][counted].float(), head, ids[:, 1:][counted], weights / weights.sum())
