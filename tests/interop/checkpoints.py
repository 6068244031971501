"""Small Llama checkpoints of random weights, adapters for them, and what both mean: written and read by the formats' published
layouts with NumPy and PyPI's safetensors alone, nothing of this project."""
import hashlib
import json
import os

import numpy as np
from safetensors.numpy import load_file, save_file

GROUP = 32
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64,
          "intermediate_size": 96, "vocab_size": 320, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
          "hidden_act": "silu", "torch_dtype": "float16"}
LINEARS = [("self_attn.q_proj", 64, 64), ("self_attn.k_proj", 32, 64), ("self_attn.v_proj", 32, 64), ("self_attn.o_proj", 64, 64),
           ("mlp.gate_proj", 96, 64), ("mlp.up_proj", 96, 64), ("mlp.down_proj", 64, 96)]
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # output channel that each nibble of a word holds


def layers() -> list[tuple[str, int, int]]:
    return [(f"model.layers.{layer}.{name}", rows, columns) for layer in range(2) for name, rows, columns in LINEARS]


def pack(codes: np.ndarray, order: list[int]) -> np.ndarray:
    """Eight neighbours of the last axis a word."""
    parts = codes.reshape(*codes.shape[:-1], -1, 8)[..., order].astype(np.uint32)
    return (parts << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32).view(np.int32)


def unpack(words: np.ndarray, order: list[int]) -> np.ndarray:
    parts = (words.view(np.uint32)[..., None] >> (4 * np.arange(8, dtype=np.uint32))) & 15
    codes = np.empty_like(parts)
    codes[..., order] = parts
    return codes.reshape(*words.shape[:-1], -1).astype(np.int64)


def letters() -> list[str]:
    """A token for every byte, as byte-level BPE spells them, then others up to the vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelled = {b: chr(b) for b in printable}
    spelled.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in spelled)})
    return [spelled[b] for b in range(256)] + [f"token{i}" for i in range(256, CONFIG["vocab_size"])]


def write_tokenizer(directory: str, tokens: list[str]) -> None:
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []}
    with open(os.path.join(directory, "tokenizer.json"), "w") as file:
        json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                   "pre_tokenizer": level, "post_processor": None, "decoder": level, "model": model}, file)


def write_checkpoint(directory: str, method: str) -> None:
    """`method` is gptq (its first format) or awq (gemm)."""
    os.makedirs(directory)
    random = np.random.default_rng(5)
    tensors = {"model.embed_tokens.weight": random.normal(0, 1, (CONFIG["vocab_size"], 64)).astype(np.float16),
               "lm_head.weight": random.normal(0, 0.3, (CONFIG["vocab_size"], 64)).astype(np.float16),
               "model.norm.weight": np.ones(64, np.float16)}
    for layer in range(2):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = random.normal(1, 0.1, 64).astype(np.float16)
    for name, rows, columns in layers():
        codes = random.integers(0, 16, (columns, rows))
        zeros = random.integers(1, 16, (columns // GROUP, rows))
        tensors[name + ".scales"] = random.uniform(0.02, 0.04, (columns // GROUP, rows)).astype(np.float16)
        if method == "awq":
            tensors[name + ".qweight"] = pack(codes, AWQ_ORDER)
            tensors[name + ".qzeros"] = pack(zeros, AWQ_ORDER)
        else:
            tensors[name + ".qweight"] = np.ascontiguousarray(pack(codes.T, list(range(8))).T)
            tensors[name + ".qzeros"] = pack(zeros - 1, list(range(8)))
    save_file(tensors, os.path.join(directory, "model.safetensors"), metadata={"format": "pt"})
    settings = {"quant_method": method, "bits": 4, "group_size": GROUP}
    settings.update({"zero_point": True, "version": "gemm"} if method == "awq" else {"desc_act": False, "sym": False})
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump({**CONFIG, "quantization_config": settings}, file)
    write_tokenizer(directory, letters())


def dense(directory: str) -> dict[str, np.ndarray]:
    """Every tensor by the name it has without quantization, in float32."""
    tensors = load_file(os.path.join(directory, "model.safetensors"))
    with open(os.path.join(directory, "config.json")) as file:
        settings = json.load(file)["quantization_config"]
    found = {}
    for name, tensor in tensors.items():
        if name.endswith(".qweight"):
            layer = name.removesuffix(".qweight")
            if settings["quant_method"] == "awq":
                codes, zeros = unpack(tensor, AWQ_ORDER), unpack(tensors[layer + ".qzeros"], AWQ_ORDER)
            else:
                codes = unpack(np.ascontiguousarray(tensor.T), list(range(8))).T
                zeros = unpack(tensors[layer + ".qzeros"], list(range(8))) + 1
            scales = tensors[layer + ".scales"].astype(np.float32)
            repeat = lambda values: np.repeat(values, settings["group_size"], axis=0)
            found[layer + ".weight"] = (repeat(scales) * (codes - repeat(zeros))).T.astype(np.float32)
        elif not name.endswith((".qzeros", ".scales")):
            found[name] = tensor.astype(np.float32)
    return found


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def directory_digest(directory: str) -> str:
    """LC_ALL=C sha256sum config.json model.safetensors tokenizer.json | sha256sum"""
    names = sorted(["config.json", "model.safetensors", "tokenizer.json"])
    lines = "".join(f"{sha256(os.path.join(directory, name))}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def write_adapter(path: str, digest: str, partition: list[tuple[str, int, int, int]], by_group: bool, task: dict,
                  seed: int = 11) -> dict:
    """Random multipliers for (name, rows, columns, group) as an adapter; returns them by name, [rows, groups or 1]."""
    random = np.random.default_rng(seed)
    groups = lambda columns, group: columns // group if by_group else 1
    multipliers = {name: random.uniform(0.6, 1.4, (rows, groups(columns, group))).astype(np.float32)
                   for name, rows, columns, group in partition}
    method = {"seed": "0", "steps": 1, "probes": 1, "micro_batches": 1, "batch_size": 1, "epsilon": 0.01, "learning_rate": 0.01,
              "warmup_ratio": 0, "clip": 100, "granularity": 2 if by_group else 1, "mode": 1, "noise": 1, "rule": 1,
              "lr_schedule": 1, "sampling": 1}
    rows_of = [{"name": name, "rows": rows, "cols": columns, "group": group} for name, rows, columns, group in partition]
    metadata = {"qzo_adapter": "1", "content": "multipliers", "base_model_digest": digest, "method": json.dumps(method),
                "partition": json.dumps(rows_of), "step": "1", "replica_digest": "0", "job": "", "task": json.dumps(task)}
    save_file({name: k if by_group else k[:, 0].copy() for name, k in multipliers.items()}, path, metadata=metadata)
    return multipliers
