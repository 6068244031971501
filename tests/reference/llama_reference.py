#!/usr/bin/env python3
"""An independent reference for losses: a llama forward pass in float64 numpy, Philox noise and perturbed multipliers.

    pip install numpy gguf
    python3 tests/reference/llama_reference.py > tests/golden/stories260k/losses.json

Shares no code with the project. Noise follows docs/formats.md; logarithm and sine are numpy's, so Gaussian values agree with
the project's to about 1e-6.
"""
import json
import os

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "../golden/models/stories260k")
PARTS = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]  # the partition's order


def philox(seed, counter):
    """Philox4x32-10 of many blocks: `counter` is [n, 4] uint32; returns [n, 4]."""
    mask = np.uint64(0xFFFFFFFF)
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        shift = np.uint64(32)
        c = [(p1 >> shift) ^ c[1] ^ np.uint64(k0), p1 & mask, (p0 >> shift) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, -1).astype(np.uint32)


def noise(kind, seed, step, probe, tensor, count):
    per_block = 128 if kind == "rademacher" else 4
    blocks = -(-count // per_block)
    counter = np.zeros((blocks, 4), np.uint32)
    counter[:, 0], counter[:, 1], counter[:, 2], counter[:, 3] = np.arange(blocks), tensor, probe, step
    words = philox(seed, counter)
    if kind == "rademacher":
        bits = (words[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
        return 1.0 - 2.0 * bits.reshape(-1)[:count].astype(np.float64)
    a, b = words[:, 0::2], words[:, 1::2]
    radius = np.sqrt(-2 * np.log(((a >> 8).astype(np.float64) + 1) / 2**24))
    offset = (((b << 2).astype(np.uint32).view(np.int32)) >> 8) * (np.pi / 2 / 2**24)
    angle = (b >> 30) * (np.pi / 2) + offset
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(-1)[:count]


class Llama:
    def __init__(self, path):
        reader = GGUFReader(path)
        get = lambda key: reader.fields["llama." + key].contents()
        self.layers, self.dim = get("block_count"), get("embedding_length")
        self.heads, self.kv_heads = get("attention.head_count"), get("attention.head_count_kv")
        self.eps, self.base = get("attention.layer_norm_rms_epsilon"), get("rope.freq_base")
        self.head_dim = self.dim // self.heads
        shape = lambda t: [int(n) for n in reversed(t.shape)]
        self.weights = {t.name: dequantize(t.data, t.tensor_type).astype(np.float64).reshape(shape(t)) for t in reader.tensors}
        plain = {"F32", "F16", "BF16"}
        self.trained = [f"blk.{i}.{p}.weight" for i in range(self.layers) for p in PARTS]
        self.group = {t.name: shape(t)[-1] if t.tensor_type.name in plain else 32 for t in reader.tensors}

    def multiplied(self, granularity, value):
        """Weights with each multiplier replaced by value(ordinal, count)."""
        out = dict(self.weights)
        for ordinal, name in enumerate(self.trained):
            w = self.weights[name]
            groups = 1 if granularity == "channel" else w.shape[1] // self.group[name]
            k = value(ordinal, w.shape[0] * groups).reshape(w.shape[0], groups)
            out[name] = (w.reshape(w.shape[0], groups, -1) * k[..., None]).reshape(w.shape)
        return out

    def log_probs(self, w, ids):
        n, hd = len(ids), self.head_dim
        norm = lambda x, name: x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * w[name + ".weight"]
        angle = np.arange(n)[:, None] * self.base ** (-np.arange(0, hd, 2) / hd)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

        def rope(x):
            out, a, b = np.empty_like(x), x[..., 0::2], x[..., 1::2]
            out[..., 0::2], out[..., 1::2] = a * cos - b * sin, a * sin + b * cos
            return out

        x = w["token_embd.weight"][ids]
        for i in range(self.layers):
            linear = lambda y, part: y @ w[f"blk.{i}.{part}.weight"].T
            h = norm(x, f"blk.{i}.attn_norm")
            q = rope(linear(h, "attn_q").reshape(n, self.heads, hd))
            k = rope(linear(h, "attn_k").reshape(n, self.kv_heads, hd))
            v = linear(h, "attn_v").reshape(n, self.kv_heads, hd)
            share = self.heads // self.kv_heads
            k, v = np.repeat(k, share, 1), np.repeat(v, share, 1)
            scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(hd)
            scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
            p = np.exp(scores - scores.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            x = x + linear(np.einsum("hij,jhd->ihd", p, v).reshape(n, -1), "attn_output")
            h = norm(x, f"blk.{i}.ffn_norm")
            gate = linear(h, "ffn_gate")
            x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, "ffn_up"), "ffn_down")
        logits = norm(x, "output_norm") @ w.get("output.weight", w["token_embd.weight"]).T
        top = logits.max(-1, keepdims=True)
        return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))

    def branch(self, w, prompt, branch):
        """Log-probability of each token of `branch` after `prompt`."""
        lp = self.log_probs(w, prompt + branch)
        return [float(lp[len(prompt) - 1 + j, token]) for j, token in enumerate(branch)]


def measure(model, w, example):
    if example["kind"] == "classification":
        scores = [float(np.mean(model.branch(w, example["prompt"], b))) for b in example["branches"]]
        loss = float(np.log(np.exp(np.array(scores) - max(scores)).sum()) - (scores[example["label"]] - max(scores)))
        return loss, scores
    lp = model.branch(w, example["prompt"], example["branches"][0])
    return -sum(p for p, s in zip(lp, example["scored"]) if s), None


def examples():
    ids = json.load(open(os.path.join(MODELS, "reference.json")))["greedy_ids"]
    out = []
    for i, (start, length) in enumerate([(0, 4), (10, 17), (33, 1), (60, 40), (100, 9)]):
        prompt, at = ids[start:start + length], start + length
        options = [ids[at:at + 1], ids[at + 1:at + 4], ids[150:155], [300 + i, 417]]
        out.append({"kind": "classification", "prompt": prompt, "branches": options, "label": i % 4})
    for start, length, answer in [(0, 1, 30), (20, 25, 12), (70, 7, 3), (120, 50, 20), (5, 2, 1)]:
        branch = ids[start + length:start + length + answer]
        scored = [1 if answer < 5 or j % 5 != 2 else 0 for j in range(answer)]
        out.append({"kind": "completion", "prompt": ids[start:start + length], "branches": [branch], "scored": scored})
    return out


PERTURBATIONS = [
    {"granularity": "channel", "noise": "rademacher", "seed": 0x0123456789ABCDEF, "step": 3, "epsilon": 0.01},
    {"granularity": "group", "noise": "rademacher", "seed": 42, "step": 0, "epsilon": 0.01},
    {"granularity": "group", "noise": "gaussian", "seed": 7, "step": 11, "epsilon": 0.001953125},
]


def main():
    rows = examples()
    result = {"examples": rows, "models": {}}
    for storage in ["F32", "Q4_1"]:
        model = Llama(os.path.join(MODELS, f"stories260K-{storage}.gguf"))
        plain = [measure(model, model.weights, e) for e in rows]
        entry = {"losses": [loss for loss, _ in plain], "scores": [s for _, s in plain if s], "perturbed": []}
        for p in PERTURBATIONS:
            epsilon = float(np.float32(p["epsilon"]))
            probes = []
            for probe in range(3):
                # A job trains one kind of task: here the classification examples.
                batch = [e for e in rows if e["kind"] == "classification"]
                side = {}
                for sign in (1, -1):
                    draw = lambda t, n: 1 + sign * epsilon * noise(p["noise"], p["seed"], p["step"], probe, t, n)
                    w = model.multiplied(p["granularity"], draw)
                    side[sign] = sum(measure(model, w, e)[0] for e in batch)
                d = (side[1] - side[-1]) / (2 * epsilon * len(batch))
                probes.append({"plus": side[1], "minus": side[-1], "d": d})
            entry["perturbed"].append({**p, "probes": probes})
        result["models"][storage] = entry
    print(json.dumps(result))


if __name__ == "__main__":
    main()
