"""A QZO step in PyTorch as a peer of the engine: for each line on standard input, one step on a GGUF model in Q4_1; prints its
seconds.

  pytorch.py MODEL.gguf THREADS published BATCH    as the paper's code: every option a padded sequence, logits at every position, weights
                                                   dequantized in each forward pass, noise on every scale
  pytorch.py MODEL.gguf THREADS careful BATCH      as fast as it is written easily: dense fp32 weights in memory, a multiplier per output
                                                   channel applied to the outputs, each prompt once, logits only where an option begins

BATCH is what qzo_engine_bench --write-batch writes: [[prompt token ids, [option token ids, …], label], …]. `careful` takes options
of one token.
"""
import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader
from gguf.quants import dequantize


class Packed:
    """A Q4_1 matrix [rows, cols]: codes, and per block of 32 a scale d, which is trained, and a minimum m."""

    def __init__(self, tensor):
        cols, rows = (int(n) for n in tensor.shape)
        raw = np.array(tensor.data).reshape(rows, cols // 32, 20)
        halves = raw[:, :, :4].copy().view(np.float16).astype(np.float32)
        self.shape = (rows, cols)
        self.trained, self.m = torch.from_numpy(halves[..., :1].copy()), torch.from_numpy(halves[..., 1:].copy())
        self.codes = torch.from_numpy(raw[:, :, 4:].copy())

    def __call__(self, x):
        codes = torch.cat([self.codes & 15, self.codes >> 4], -1).float()
        return F.linear(x, torch.addcmul(self.m, codes, self.trained).view(self.shape))


class Dense:
    """The same in fp32, with a multiplier per row, which is trained."""

    def __init__(self, tensor):
        self.weight = plain(tensor)
        self.trained = torch.ones(self.weight.shape[0])

    def __call__(self, x):
        return F.linear(x, self.weight) * self.trained


def plain(tensor):
    array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    return torch.from_numpy(array.reshape([int(n) for n in reversed(tensor.shape)]))


class Llama:
    def __init__(self, path: str, matrix: type):
        reader = GGUFReader(path)
        value = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.heads, self.kv_heads = value["llama.attention.head_count"], value["llama.attention.head_count_kv"]
        self.dim = value["llama.embedding_length"] // self.heads
        self.epsilon, self.base = value["llama.attention.layer_norm_rms_epsilon"], value["llama.rope.freq_base"]
        self.embedding, self.norm = plain(tensors["token_embd.weight"]), plain(tensors["output_norm.weight"])
        self.head = plain(tensors["output.weight"]) if "output.weight" in tensors else self.embedding
        parts = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
        self.layers = [
            [plain(tensors[f"blk.{i}.attn_norm.weight"]), plain(tensors[f"blk.{i}.ffn_norm.weight"])]
            + [matrix(tensors[f"blk.{i}.{part}.weight"]) for part in parts]
            for i in range(value["llama.block_count"])
        ]

    def rms(self, x, weight):
        return F.rms_norm(x, (x.shape[-1],), weight, self.epsilon)

    def rotate(self, x):  # neighbours are pairs in this file format
        angles = torch.arange(x.shape[2])[:, None] * self.base ** (-torch.arange(0, self.dim, 2) / self.dim)
        a, b, cos, sin = x[..., 0::2], x[..., 1::2], angles.cos(), angles.sin()
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)

    def hidden(self, ids):
        rows, length = ids.shape
        x = self.embedding[ids]
        for norm, second_norm, q, k, v, out, gate, up, down in self.layers:
            y = self.rms(x, norm)
            split = lambda z, heads: z.view(rows, length, heads, self.dim).transpose(1, 2)
            keys, values = self.rotate(split(k(y), self.kv_heads)), split(v(y), self.kv_heads)
            attended = F.scaled_dot_product_attention(
                self.rotate(split(q(y), self.heads)), keys, values, is_causal=True, enable_gqa=True)
            x = x + out(attended.transpose(1, 2).reshape(rows, length, -1))
            y = self.rms(x, second_norm)
            x = x + down(F.silu(gate(y)) * up(y))
        return self.rms(x, self.norm)

    def trained(self):
        return [matrix.trained for layer in self.layers for matrix in layer[2:]]


def padded(sequences):
    ids = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    for i, sequence in enumerate(sequences):
        ids[i, : len(sequence)] = torch.tensor(sequence)
    return ids


def cross_entropy(scores, batch):
    return F.cross_entropy(scores.view(len(batch), -1), torch.tensor([label for _, _, label in batch]))


def published(model, batch):
    sequences = [(prompt, option) for prompt, options, _ in batch for option in options]
    ids = padded([prompt + option for prompt, option in sequences])

    def loss():
        log_probs = F.log_softmax(F.linear(model.hidden(ids), model.head), -1)
        scores = [
            sum(log_probs[i, len(prompt) - 1 + j, token] for j, token in enumerate(option)) / len(option)
            for i, (prompt, option) in enumerate(sequences)
        ]
        return cross_entropy(torch.stack(scores), batch)

    return loss


def careful(model, batch):
    ids = padded([prompt for prompt, _, _ in batch])
    last = torch.tensor([len(prompt) - 1 for prompt, _, _ in batch])
    options = torch.tensor([[option[0] for option in options] for _, options, _ in batch])

    def loss():
        hidden = model.hidden(ids)[torch.arange(len(batch)), last]
        return cross_entropy(F.log_softmax(F.linear(hidden, model.head), -1).gather(1, options), batch)

    return loss


def main() -> None:
    path, threads, style, batch_file = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = Llama(path, {"published": Packed, "careful": Dense}[style])
    with open(batch_file) as file:
        loss = {"published": published, "careful": careful}[style](model, json.load(file))
    epsilon, rate = 1e-3, 1e-7

    def move(seed, by):
        torch.manual_seed(seed)
        for trained in model.trained():
            trained.add_(torch.randn(trained.shape), alpha=by)

    with torch.inference_mode():
        for seed, _ in enumerate(sys.stdin):
            begin = time.perf_counter()
            move(seed, epsilon)
            plus = loss()
            move(seed, -2 * epsilon)
            gradient = float((plus - loss()) / (2 * epsilon))
            move(seed, epsilon)
            move(seed, -rate * max(-100.0, min(100.0, gradient)))
            print(time.perf_counter() - begin, flush=True)


main()
