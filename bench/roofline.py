"""What the CUDA kernels can reach at most: bytes, operations and the time these take at a device's public peaks, kernel
by kernel for one forward pass. A model of the kernels as they are written (kernels/cuda), not a measurement.

  roofline.py [--quick] [--weights FORMAT] [--deltas] [--json FILE]
"""
import argparse
from dataclasses import dataclass

from report import report

# Public peaks, dense: bfloat16 tensor TFLOP/s with fp32 sums, fp32 TFLOP/s, memory TB/s. NVIDIA's tables give tensor
# figures with 2:4 sparsity, twice these. mma.sync, which the products use, is known to reach about two thirds of the
# tensor peak on Hopper and less on Blackwell, whose peaks need instructions of their own; the times below are lower
# bounds all the more.
DEVICES = {
    "A100": (312, 19.5, 2.039),  # NVIDIA A100 datasheet, 80GB SXM
    "H100": (989, 67, 3.35),  # NVIDIA H100 datasheet, SXM: 1,979 with sparsity
    "H200": (989, 67, 4.8),  # NVIDIA H200 datasheet, SXM: the same chip with other memory
    "RTX4090": (165.2, 82.6, 1.008),  # NVIDIA Ada GPU architecture, appendix: GeForce RTX 4090
    "B200": (2250, 75, 7.7),  # NVIDIA Blackwell datasheet, a GPU of HGX B200: 4.5 PFLOPS with sparsity
}


@dataclass
class Model:
    layers: int
    dim: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int


MODELS = {
    "SmolLM2-135M": Model(30, 576, 1536, 9, 3, 64, 49152),
    "Llama-3.2-1B": Model(16, 2048, 8192, 32, 8, 64, 128256),
    "Llama-3-8B": Model(32, 4096, 14336, 32, 8, 128, 128256),
}

# On the device (kernels/cuda/matrix.h): bytes per value, scale and minimum multiply-adds per 32 columns, bytes of a matrix's
# codebooks.
FORMATS = {
    "Q4_0": (18 / 32, 1, 0),
    "Q4_1": (20 / 32, 2, 0),
    "Q4_K": (148 / 256, 2, 0),
    "Q8_0": (34 / 32, 1, 0),
    "NF4": (36 / 64, 1, 2**10),
    "AQLM-2x8": (2 / 8, 0, 2**13),
    "AQLM-1x16": (2 / 8, 0, 2**20),
}
LANES = 16  # of a pass


@dataclass
class Cost:
    bytes: float = 0
    tensor: float = 0  # operations on tensor cores
    fp32: float = 0

    def __add__(self, other):
        return Cost(self.bytes + other.bytes, self.tensor + other.tensor, self.fp32 + other.fp32)

    def seconds(self, device):
        tensor, fp32, memory = DEVICES[device]
        return max(self.tensor / tensor, self.fp32 / fp32, self.bytes / memory) / 1e12


def stretches(cols):
    return -(-cols // 64) * 64


def product(rows, n, k, weights, accumulate, matrices=1):
    """Weights and activations once each: blocks that share them run together (TileOf)."""
    per_value, scalings, books = FORMATS[weights]
    moved = n * stretches(k) * per_value + matrices * books + rows * stretches(k) * (2 + 4 / 16) + rows * n * 4 * (2 if accumulate else 1)
    # 128 columns a block: every value is decoded for each 128 rows, about 1.5 operations.
    return Cost(moved, 2 * rows * n * k, 2 * rows * n * k / 32 * scalings + 1.5 * n * k * rows / 128)


def forward(model, rows, kept, tokens, weights, deltas):
    """Kernels of one pass, sequences of `tokens` tokens; `kept` rows reach the head. `deltas`: of norms and of a head that is F32."""
    q, kv = model.heads * model.head_dim, model.kv_heads * model.head_dim
    costs = {}

    def add(name, cost, times=1):
        total = costs.get(name, Cost())
        for _ in range(times):
            total = total + cost
        costs[name] = total

    layers = model.layers
    add("product q, k, v", product(rows, q + 2 * kv, model.dim, weights, False, 3), layers)
    add("product output", product(rows, model.dim, q, weights, True), layers)
    add("product gate, up", product(rows, 2 * model.ffn, model.dim, weights, False, 2), layers)
    add("product down", product(rows, model.dim, model.ffn, weights, True), layers)
    add("product head", product(kept, model.vocabulary, model.dim, "Q8_0" if weights.startswith(("AQLM", "NF4")) else weights, False))
    keys = tokens / 2 + 32  # causal, in tiles of 64
    pairs = rows * model.heads * keys
    add("attention", Cost(rows * (q + 2 * kv) * 2 + rows * q * 4, 4 * pairs * model.head_dim, 20 * pairs), layers)
    add("norm", Cost(rows * model.dim * (4 + 2.25), 0, 4 * rows * model.dim), 2 * layers)
    add("rotate", Cost(rows * (q + 2 * kv) * 6, 0, 4 * rows * (q + kv)), layers)
    add("gate", Cost(rows * model.ffn * (8 + 2.25), 0, 20 * rows * model.ffn), layers)
    add("round", Cost(rows * q * (4 + 2.25)), layers)
    add("embed", Cost(rows * model.dim * 5))
    if deltas:
        values = model.vocabulary * model.dim  # of the head: fp32, and noise that every strip of 64 rows of a lane draws anew
        strips = LANES * -(-kept // LANES // 64)
        moved = Cost(2 * kept * model.vocabulary * 4 + kept * stretches(model.dim) * 2, 2 * kept * values)
        add("deltas of head", moved + Cost(values * 4, 0, strips * values))
        # A word of Philox, some 100 operations, is 32 signs, and drawn by the four threads that share them; 4 to round one.
        add("noise of head", moved + Cost(0, 0, strips * values * (4 * 100 / 32 + 4)))
        add("vectors", Cost(LANES * 2 * model.dim * 12, 0, LANES * 2 * model.dim * 100), layers)
    add("loss", Cost(2 * kept * model.vocabulary * 4, 0, 20 * kept * model.vocabulary))
    return costs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one model")
    parser.add_argument("--weights", choices=FORMATS, default="Q4_0")
    parser.add_argument("--deltas", action="store_true", help="unquantized tensors are trained, too")
    parser.add_argument("--json", default=None)
    arguments = parser.parse_args()
    rows, tokens, weights = LANES * 16 * 64, 64, arguments.weights
    kept = rows // tokens
    metrics = []
    for name, model in MODELS.items():
        if arguments.quick and name != "Llama-3-8B":
            continue
        costs = forward(model, rows, kept, tokens, weights, arguments.deltas)
        print(f"\n{name} {weights}, {rows} rows (16 lanes of 16 sequences of {tokens}): predicted ms at least")
        print(f"  {'kernel':18}{'GB':>9}{'TFLOP':>9}{'fp32 T':>9}" + "".join(f"{device:>10}" for device in DEVICES))
        for kernel, cost in costs.items():
            times = "".join(f"{1e3 * cost.seconds(device):10.3f}" for device in DEVICES)
            print(f"  {kernel:18}{cost.bytes / 1e9:9.3f}{cost.tensor / 1e12:9.3f}{cost.fp32 / 1e12:9.3f}{times}")
        for device in DEVICES:
            seconds = sum(cost.seconds(device) for cost in costs.values())
            metrics.append((f"{name}_{device}_pass_ms", 1e3 * seconds, "ms at least (predicted)"))
            metrics.append((f"{name}_{device}_rows_per_s", rows / seconds, "token rows/s at most (predicted)"))
    print()
    report("roofline", ["scripts/bench.sh roofline"], metrics, arguments.json)


if __name__ == "__main__":
    main()
