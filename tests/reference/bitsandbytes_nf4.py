#!/usr/bin/env python3
"""Layers as bitsandbytes stores them in NF4 and the values that its own library decodes them to, into tests/golden/checkpoints.

    pip install --no-deps --target DIRECTORY bitsandbytes==0.50.2
    python3 tests/reference/bitsandbytes_nf4.py DIRECTORY

Codes and scales are random: every number that a file can hold is as good as those that a quantizer would choose. Tensors and the
JSON beside them are named and laid out as its QuantState.as_dict(packed=True) does.
"""
import ctypes
import json
import random
import struct
import sys
from array import array
from pathlib import Path

ROWS, COLS, NAME = 24, 256, "model.layers.0.mlp.down_proj.weight"
OUT = Path(__file__).resolve().parents[1] / "golden/checkpoints"
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]


def call(function, *arguments):
    function(*(ctypes.c_longlong(a) if isinstance(a, int) else ctypes.c_void_p(a.buffer_info()[0]) for a in arguments))


def floats(count):
    return array("f", [0.0] * count)


def layer(library, block, nested_block):
    """The tensors by name, as (dtype, shape, bytes)."""
    codes = array("B", [random.randrange(256) for _ in range(ROWS * COLS // 2)])
    scales = ROWS * COLS // block
    state = {"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16", "shape": [ROWS, COLS]}
    tensors = {
        NAME: ("U8", [len(codes), 1], codes.tobytes()),
        f"{NAME}.quant_map": ("F32", [16], array("f", NF4).tobytes()),
    }
    absmax = floats(scales)
    if nested_block:
        offset = array("f", [0.0371])[0]
        indices = array("B", [random.randrange(256) for _ in range(scales)])
        table = array("f", sorted(random.uniform(-1, 1) for _ in range(256)))
        outer = array("f", [random.uniform(0.01, 0.03) for _ in range(-(-scales // nested_block))])
        call(library.cdequantize_blockwise_cpu_fp32, table, indices, outer, absmax, nested_block, scales)
        absmax = array("f", [value + offset for value in absmax])  # of two fp32 numbers, rounded once
        state |= {"nested_blocksize": nested_block, "nested_dtype": "float32", "nested_offset": offset}
        tensors[f"{NAME}.absmax"] = ("U8", [scales], indices.tobytes())
        tensors[f"{NAME}.nested_absmax"] = ("F32", [len(outer)], outer.tobytes())
        tensors[f"{NAME}.nested_quant_map"] = ("F32", [256], table.tobytes())
    else:
        absmax = array("f", [random.uniform(0.005, 0.06) for _ in range(scales)])
        tensors[f"{NAME}.absmax"] = ("F32", [scales], absmax.tobytes())
    values = floats(ROWS * COLS)
    call(library.cdequantize_blockwise_cpu_nf4_fp32, codes, absmax, values, block, ROWS, COLS)
    text = json.dumps(state).encode()
    tensors[f"{NAME}.quant_state.bitsandbytes__nf4"] = ("U8", [len(text)], text)
    tensors["expected_dense_out_in"] = ("F32", [ROWS, COLS], values.tobytes())
    return tensors


def write(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, content) in sorted(tensors.items()):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    random.seed(20)
    library = ctypes.CDLL(str(Path(sys.argv[1]) / "bitsandbytes/libbitsandbytes_cpu.so"))
    for name, block, nested in (("nf4-b64", 64, 0), ("nf4-b64_nested", 64, 32), ("nf4-b128", 128, 0)):
        write(OUT / f"{name}.safetensors", layer(library, block, nested))


if __name__ == "__main__":
    main()
