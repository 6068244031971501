"""Peak memory of training steps at the paper's scale (see README.md): writes a checkpoint of random weights in the shapes of a
model, runs QZO steps on it in the CPU worker's engine, and compares with what plans predict and with published figures.

  memory.py [--quick] [--json FILE] [--models NAME,…] [--batches N,…] [--steps N] [--no-pair]
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

from report import report

PROGRAM = "build/release/bin/qzo_memory_bench"
GROUP = 128
GB = 1e9

# Peaks in GB: QZO's of Tables 1 and 3 of arXiv:2505.13430 (4 bits; 13B in 2, with AQLM), AdamW's of its Figure 1. For 13B the figure has
# none: its bytes per parameter of Llama-2-7B.
MODELS = {
    "opt-6.7b": {"type": "opt", "hidden": 4096, "wide": 16384, "layers": 32, "heads": 32, "kv_heads": 32, "vocabulary": 50272,
                 "context": 2048, "format": "gptq", "qzo": 4.8, "adamw": 87.6},
    "llama-2-7b": {"type": "llama", "hidden": 4096, "wide": 11008, "layers": 32, "heads": 32, "kv_heads": 32, "vocabulary": 32000,
                   "context": 4096, "format": "gptq", "qzo": 5.0, "adamw": 92.2},
    "llama-3.1-8b": {"type": "llama", "hidden": 4096, "wide": 14336, "layers": 32, "heads": 32, "kv_heads": 8, "vocabulary": 128256,
                     "context": 8192, "format": "gptq", "qzo": 6.3, "adamw": 113.7},
    "llama-2-13b": {"type": "llama", "hidden": 5120, "wide": 13824, "layers": 40, "heads": 40, "kv_heads": 40, "vocabulary": 32000,
                    "context": 4096, "format": "aqlm", "qzo": 5.78, "adamw": 178.1},
}


def linears(shape: dict) -> list[tuple[str, int, int]]:
    """(name, rows, columns) of the quantized layers of a block."""
    hidden, wide = shape["hidden"], shape["wide"]
    kv = hidden // shape["heads"] * shape["kv_heads"]
    out = "out_proj" if shape["type"] == "opt" else "o_proj"
    attention = [("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv, hidden), ("self_attn.v_proj", kv, hidden),
                 (f"self_attn.{out}", hidden, hidden)]
    if shape["type"] == "opt":
        return attention + [("fc1", wide, hidden), ("fc2", hidden, wide)]
    return attention + [("mlp.gate_proj", wide, hidden), ("mlp.up_proj", wide, hidden), ("mlp.down_proj", hidden, wide)]


class Checkpoint:
    """Tensors of one safetensors file, written one after the other: only the header is in memory."""

    def __init__(self) -> None:
        self.header: dict = {}
        self.fills: list[tuple[str, int]] = []
        self.size = 0

    def add(self, name: str, dtype: str, dims: list[int], fill: str) -> None:
        size = {"F16": 2, "I32": 4, "I16": 2}[dtype]
        for dim in dims:
            size *= dim
        self.header[name] = {"dtype": dtype, "shape": dims, "data_offsets": [self.size, self.size + size]}
        self.fills.append((fill, size))
        self.size += size

    def write(self, path: str) -> None:
        text = json.dumps(self.header).encode()
        text += b" " * (-len(text) % 8)
        random = os.urandom(1 << 24)
        halves = lambda exponent: b"".join(struct.pack("<H", (b & 0x80) << 8 | exponent << 10 | b & 0x7F) for b in random[: 1 << 19])
        patterns = {
            "codes": random,
            "small": halves(9),  # of either sign, 2^-6 and up
            "scales": bytes(b & 0x7F if i % 2 else b for i, b in enumerate(halves(7))),  # positive, 2^-8 and up
            "ones": struct.pack("<H", 0x3C00) * (1 << 19),
            "zeros": b"\x77" * (1 << 20),  # GPTQ's first format stores zero − 1
            "nothing": bytes(1 << 20),
        }
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for fill, size in self.fills:
                pattern = patterns[fill]
                while size > 0:
                    file.write(pattern[:size])
                    size -= min(size, len(pattern))


def write_tokenizer(directory: str, vocabulary: int) -> None:
    """A byte-level vocabulary that fills the model's: a letter is a token."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in printable}
    others = [b for b in range(256) if b not in letters]
    letters.update({b: chr(256 + i) for i, b in enumerate(others)})
    tokens = [letters[b] for b in range(256)] + [f"token{i}" for i in range(256, vocabulary)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    with open(os.path.join(directory, "tokenizer.json"), "w") as file:
        json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                   "pre_tokenizer": level, "post_processor": None, "decoder": level,
                   "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                             "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []}}, file)


def write_model(directory: str, shape: dict, layers: int) -> None:
    hidden, vocabulary = shape["hidden"], shape["vocabulary"]
    opt = shape["type"] == "opt"
    prefix = "model.decoder." if opt else "model."
    checkpoint = Checkpoint()
    checkpoint.add(prefix + "embed_tokens.weight", "F16", [vocabulary, hidden], "small")
    norms = [prefix + ("final_layer_norm" if opt else "norm")]
    if opt:
        checkpoint.add(prefix + "embed_positions.weight", "F16", [shape["context"] + 2, hidden], "small")
    else:
        checkpoint.add("lm_head.weight", "F16", [vocabulary, hidden], "small")
    for layer in range(layers):
        block = f"{prefix}layers.{layer}."
        norms += [block + name for name in (["self_attn_layer_norm", "final_layer_norm"] if opt else
                                            ["input_layernorm", "post_attention_layernorm"])]
        for name, rows, columns in linears(shape):
            if shape["format"] == "aqlm":  # one codebook of 16 bits for eight values
                checkpoint.add(f"{block}{name}.codes", "I16", [rows, columns // 8, 1], "codes")
                checkpoint.add(f"{block}{name}.codebooks", "F16", [1, 1 << 16, 1, 8], "small")
                checkpoint.add(f"{block}{name}.scales", "F16", [rows, 1, 1, 1], "ones")
                continue
            checkpoint.add(f"{block}{name}.qweight", "I32", [columns // 8, rows], "codes")
            checkpoint.add(f"{block}{name}.qzeros", "I32", [columns // GROUP, rows // 8], "zeros")
            checkpoint.add(f"{block}{name}.scales", "F16", [columns // GROUP, rows], "scales")
            if opt:
                checkpoint.add(f"{block}{name}.bias", "F16", [rows], "nothing")
    for norm in norms:
        checkpoint.add(norm + ".weight", "F16", [hidden], "ones")
        if opt:
            checkpoint.add(norm + ".bias", "F16", [hidden], "nothing")
    config = {"model_type": shape["type"], "num_hidden_layers": layers, "hidden_size": hidden, "vocab_size": vocabulary,
              "num_attention_heads": shape["heads"], "max_position_embeddings": shape["context"],
              "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": GROUP} if shape["format"] == "gptq" else
              {"quant_method": "aqlm", "num_codebooks": 1, "nbits_per_codebook": 16, "in_group_size": 8, "out_group_size": 1}}
    if opt:
        config.update(ffn_dim=shape["wide"], word_embed_proj_dim=hidden, do_layer_norm_before=True, activation_function="relu")
    else:
        config.update(intermediate_size=shape["wide"], num_key_value_heads=shape["kv_heads"], rms_norm_eps=1e-5)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file)
    write_tokenizer(directory, vocabulary)
    checkpoint.write(os.path.join(directory, "model.safetensors"))


def run(directory: str, packed: str, batch: int, steps: int) -> tuple[dict, str]:
    settings = ["--batch", str(batch), "--steps", str(steps), "--packed"]
    done = subprocess.run([PROGRAM, directory, *settings, packed], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout), " ".join([PROGRAM, "MODEL", *settings, "PACKED"])


def shared(directory: str, packed: str) -> tuple[float, float]:
    """Proportional set sizes in bytes of two processes with the model at once: together, and of what is mapped from files."""
    command = [PROGRAM, directory, "--packed", packed, "--hold"]
    programs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for program in programs:
            if not program.stdout.readline():
                sys.exit("memory: a worker ended early")
        total = mapped = 0.0
        for program in programs:
            with open(f"/proc/{program.pid}/smaps_rollup") as file:
                fields = {line.split(":")[0]: float(line.split()[1]) * 1024 for line in file if "kB" in line}
            total += fields["Pss"]
            mapped += fields["Pss_File"]
        return total, mapped
    finally:
        for program in programs:
            program.communicate()


def measure(name: str, shape: dict, layers: int, batches: list[int], steps: int, directory: str, packed: str,
            commands: list[str]) -> list:
    write_model(directory, shape, layers)
    metrics = []
    for batch in batches:
        found, command = run(directory, packed, batch, steps)
        if command not in commands:
            commands.append(command)
        row = f"{name}_b{batch}"
        metrics += [(f"{row}_peak", found["peak_bytes"] / GB, "GB: largest resident set"),
                    (f"{row}_anonymous", found["anonymous_bytes"] / GB, "GB of it, of no file"),
                    (f"{row}_mapped", found["mapped_bytes"] / GB, "GB of it, mapped from files"),
                    (f"{row}_planned", found["planned_bytes"] / GB, "GB, as plans predict"),
                    (f"{row}_planned_over_peak", found["planned_bytes"] / found["peak_bytes"], "target: 0.95 to 1.05"),
                    (f"{row}_step", found["step_seconds"], "s of a step")]
        if layers != shape["layers"] or batch != 1:
            continue
        if shape["qzo"]:
            metrics.append((f"{row}_over_paper", found["peak_bytes"] / GB / shape["qzo"], f"of QZO's {shape['qzo']} GB on a GPU"))
        metrics.append((f"{row}_adamw_over", shape["adamw"] / (found["peak_bytes"] / GB), f"times less than AdamW's {shape['adamw']} GB"))
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", default=None)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--batches", default=None)
    parser.add_argument("--no-pair", action="store_true")
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    names = ["llama-2-7b"] if arguments.quick else arguments.models.split(",")
    batches = [int(batch) for batch in (arguments.batches or ("1" if arguments.quick else "1,16")).split(",")]
    metrics, commands = [], [f"bench/memory.py --models {','.join(names)} --batches {','.join(map(str, batches))}"]
    for name in names:
        shape = MODELS[name]
        layers = 2 if arguments.quick else shape["layers"]
        with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as packed:
            metrics += measure(name, shape, layers, batches, arguments.steps, directory, packed, commands)
            if name == names[0] and not arguments.no_pair:
                total, mapped = shared(directory, packed)
                metrics += [(f"{name}_two_workers", total / GB, "GB of two workers at once, shared pages once"),
                            (f"{name}_two_workers_mapped", mapped / GB, "GB of it, mapped from files")]
    report("memory", commands, metrics, arguments.json)


if __name__ == "__main__":
    main()
