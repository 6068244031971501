#!/usr/bin/env python3
"""Logits of the tiny Phi 3 of tests/golden/architectures around its original context of 32 tokens, where longrope goes over from its
short divisors to its long ones: a Phi 3 forward pass in float64 numpy.

    pip install numpy safetensors
    python3 tests/reference/phi3_longrope.py

Shares no code with the project. It first reproduces logits.bin, which `transformers` 4.51.3 has computed, and follows that library's
`modeling_rope_utils.py`: a sequence longer than `original_max_position_embeddings` takes `long_factor` for all of its positions, any
other `short_factor`; both are scaled by sqrt(1 + ln(max / original) / ln(original)).
"""
import json
import os

import numpy as np
from safetensors.numpy import load_file

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden/architectures/phi3")


def ids(count):
    return [(7 * i * i + 3 * i + 1) % 96 for i in range(count)]


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rotate(x, cos, sin):
    """x is [heads, tokens, head_dim]; element i pairs with i + head_dim / 2."""
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], -1)
    return x * cos + turned * sin


def logits(config, weights, tokens):
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config["hidden_size"] // heads
    original, longest = config["original_max_position_embeddings"], config["max_position_embeddings"]
    count = len(tokens)
    factors = np.array(config["rope_scaling"]["long_factor" if count > original else "short_factor"])
    frequency = 1 / (factors * config["rope_theta"] ** (np.arange(0, dim, 2) / dim))
    angle = np.outer(np.arange(count), np.concatenate([frequency, frequency]))
    magnitude = np.sqrt(1 + np.log(longest / original) / np.log(original))
    cos, sin = np.cos(angle) * magnitude, np.sin(angle) * magnitude
    row, column = np.arange(count)[:, None], np.arange(count)[None, :]
    hidden_keys = (column > row) | (column <= row - config["sliding_window"])

    x = weights["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        get = lambda name: weights[f"model.layers.{layer}.{name}.weight"]
        h = norm(x, get("input_layernorm"), config["rms_norm_eps"]) @ get("self_attn.qkv_proj").T
        split = lambda part, n: part.reshape(count, n, dim).swapaxes(0, 1)
        q = split(h[:, : heads * dim], heads)
        k = split(h[:, heads * dim : (heads + kv_heads) * dim], kv_heads)
        v = split(h[:, (heads + kv_heads) * dim :], kv_heads)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (np.repeat(part, heads // kv_heads, 0) for part in (k, v))
        scores = q @ k.swapaxes(1, 2) / np.sqrt(dim)
        scores[:, hidden_keys] = -np.inf
        attended = (softmax(scores) @ v).swapaxes(0, 1).reshape(count, heads * dim)
        x = x + attended @ get("self_attn.o_proj").T
        h = norm(x, get("post_attention_layernorm"), config["rms_norm_eps"]) @ get("mlp.gate_up_proj").T
        gate, up = np.split(h, 2, -1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ get("mlp.down_proj").T
    return norm(x, weights["model.norm.weight"], config["rms_norm_eps"]) @ weights["lm_head.weight"].T


def main():
    with open(os.path.join(MODEL, "config.json")) as file:
        config = json.load(file)
    weights = {name: tensor.astype(np.float64) for name, tensor in load_file(os.path.join(MODEL, "model.safetensors")).items()}
    expected = np.fromfile(os.path.join(MODEL, "logits.bin"), "<f4").reshape(-1, config["vocab_size"])
    error = np.abs(logits(config, weights, ids(len(expected))) - expected).max() / np.abs(expected).max()
    assert error < 1e-6, error
    print(f"logits.bin of transformers is reproduced within {error:.1e} of its largest value")
    for count in (32, 33):
        logits(config, weights, ids(count)).astype("<f4").tofile(os.path.join(MODEL, f"logits-{count}.bin"))


if __name__ == "__main__":
    main()
