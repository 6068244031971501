#!/usr/bin/env python3
"""scripts/api_reference.py [--check]: makes docs/api.md out of the comments of proto/qzo/v1, or says whether it is up to date."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto/qzo/v1"
OUT = ROOT / "docs/api.md"
# Coordination and Serving are between programs of one release; stored.proto never leaves the server.
FILES = ["common", "job", "dataset", "model", "adapter", "inference", "token", "audit", "worker"]
BETWEEN_PROGRAMS = {"Coordination", "Serving"}
SCALARS = {"string", "bytes", "bool", "double", "float", "int32", "int64", "uint32", "uint64", "fixed64"}


@dataclass
class Block:
    """A service, message or enum, or a file, with what stands in it."""

    kind: str
    name: str
    text: str = ""
    entries: list[tuple[str, str, str]] = field(default_factory=list)  # what, type, comment
    blocks: list[Block] = field(default_factory=list)


def parse(path: Path) -> Block:
    root = Block("file", path.stem)
    stack, comment, seen_code = [root], [], False
    for line in path.read_text().splitlines():
        code, _, trailing = line.partition("//")
        code, trailing = code.strip(), trailing.strip()
        if not code:
            if trailing or "//" in line:
                comment.append("" if trailing.startswith("---") else line.partition("// ")[2].rstrip() if not seen_code else trailing)
            elif not seen_code:
                root.text, comment = "\n".join(comment), []
            else:
                comment = []
            continue
        if not seen_code:
            root.text, comment, seen_code = root.text or "\n".join(comment), [], True
        text = " ".join(filter(None, [*comment, trailing]))
        if opened := re.match(r"(service|message|enum|oneof) (\w+) \{(\})?", code):
            block = Block(opened[1], opened[2], text)
            (stack[-1].entries if opened[1] == "oneof" else stack[-1].blocks).append(
                ("one of", opened[2], text) if opened[1] == "oneof" else block
            )
            if opened[1] == "oneof":
                block.entries = stack[-1].entries
            if not opened[3]:
                stack.append(block)
        elif code == "}":
            stack.pop()
        elif rpc := re.match(r"rpc (\w+)\((stream )?(\w+)\) returns \((stream )?([\w.]+)\)", code):
            wanted, given = (("stream of " if stream else "") + name for stream, name in ((rpc[2], rpc[3]), (rpc[4], rpc[5])))
            stack[-1].entries.append((rpc[1], f"{wanted} → {given.removeprefix('google.protobuf.')}", text))
        elif value := re.match(r"(\w+) = \d+;", code):
            stack[-1].entries.append((value[1], "", text))
        elif member := re.match(r"((?:optional |repeated )?(?:map<[^>]+>|[\w.]+)) (\w+) = \d+;", code):
            stack[-1].entries.append((member[2], member[1], text))
        comment = []
    return root


def anchor(name: str) -> str:
    return name.lower().replace(".", "")


def linked(type_: str, names: set[str]) -> str:
    return re.sub(r"[A-Z]\w+", lambda word: f"[{word[0]}](#{anchor(word[0])})" if word[0] in names else word[0], type_).replace("|", "\\|")


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def write_messages(block: Block, prefix: str, names: set[str], out: list[str]) -> None:
    for inner in block.blocks:
        name = prefix + inner.name
        if inner.kind == "service":
            continue
        out += [f"### {name}", ""]
        if inner.text:
            out += [cell(inner.text), ""]
        if inner.entries:
            head = "value" if inner.kind == "enum" else "field"
            types = inner.kind != "enum"
            out += [f"| {head} | type | what |" if types else f"| {head} | what |", "|---|---|---|" if types else "|---|---|"]
            for what, type_, text in inner.entries:
                shown = f"*{what}* `{type_}`" if what == "one of" else f"`{what}`"
                type_ = "" if what == "one of" else linked(type_, names)
                out.append(f"| {shown} | {type_} | {cell(text)} |" if types else f"| {shown} | {cell(text)} |")
            out.append("")
        write_messages(inner, f"{name}.", names, out)


def make() -> str:
    files = [parse(PROTO / f"{name}.proto") for name in FILES]
    names = {block.name for file in files for block in file.blocks if block.kind != "service"}
    out = [
        "# API reference",
        "",
        "Package `qzo.v1`, made by `scripts/api_reference.py` from the comments of [proto/qzo/v1](../proto/qzo/v1), which is what counts. Errors:",
        "[errors.md](errors.md). Who may call what: [security.md](security.md#what-a-role-may).",
        "",
    ]
    for file in files:
        services = [block for block in file.blocks if block.kind == "service"]
        lines = file.text.splitlines()
        out += [f"## {file.name}.proto", "", *(["```text", *lines, "```"] if len(lines) > 3 else map(cell, lines)), ""]
        for service in services:
            note = " Between programs of one release; clients have no use for it." if service.name in BETWEEN_PROGRAMS else ""
            out += [f"### {service.name}", "", (cell(service.text) + note).strip(), ""] if service.text or note else [f"### {service.name}", ""]
            out += ["| method | request → answer | what |", "|---|---|---|"]
            out += [f"| `{what}` | {linked(type_, names)} | {cell(text)} |" for what, type_, text in service.entries]
            out.append("")
        write_messages(file, "", names, out)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).rstrip() + "\n"


def main() -> int:
    text = make()
    if sys.argv[1:] == ["--check"]:
        if OUT.exists() and OUT.read_text() == text:
            return 0
        print("docs/api.md is not what proto/qzo/v1 says: run scripts/api_reference.py", file=sys.stderr)
        return 1
    OUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
