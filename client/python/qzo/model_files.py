"""Which files make a model: one, the parts of a split GGUF file, or a checkpoint directory's (docs/formats.md)."""

from __future__ import annotations

import json
import re
from pathlib import Path

_INDEX = "model.safetensors.index.json"
_TEXTS = (
    "config.json",
    "generation_config.json",
    "quantize_config.json",
    "quant_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    _INDEX,
)
_FIRST_PART = re.compile(r"(.*)-00001-of-(\d{5})\.gguf")


def model_files(path: str | Path) -> list[Path]:
    """Sorted by name; one for a model in one piece."""
    path = Path(path)
    if path.is_dir() and not (path / "config.json").exists():
        names = sorted(file.name for file in path.glob("*.gguf"))
        firsts = names if len(names) == 1 else [name for name in names if _FIRST_PART.fullmatch(name)]
        if len(firsts) == 1:
            path = path / firsts[0]
    if path.is_dir():
        files = [path / name for name in _TEXTS if (path / name).exists()]
        return sorted(files + _weights(path), key=lambda file: file.name)
    part = _FIRST_PART.fullmatch(path.name)
    if part is None:
        return [path]
    stem, count = part.groups()
    return [path.with_name(f"{stem}-{i:05d}-of-{count}.gguf") for i in range(1, int(count) + 1)]


def _weights(directory: Path) -> list[Path]:
    if (directory / _INDEX).exists():
        index = json.loads((directory / _INDEX).read_text(encoding="utf-8"))
        return [directory / name for name in sorted(set(index["weight_map"].values()))]
    if (directory / "model.safetensors").exists():
        return [directory / "model.safetensors"]
    found = sorted(directory.glob("*.safetensors"))
    if len(found) != 1:
        raise FileNotFoundError(f"{directory}: expected model.safetensors or {_INDEX} ({len(found)} .safetensors files are there)")
    return found
