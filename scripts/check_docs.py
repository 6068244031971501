#!/usr/bin/env python3
"""scripts/check_docs.py: what the documents promise about themselves. Every reason of an error has its entries, every link leads somewhere,
the API reference is that of the protos, and the site's menu has every page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Words in capitals that are no reasons.
OTHERS = re.compile(r"^(QZO|XDG|HTTP|GRPC)_")


def reasons() -> set[str]:
    """Those that the server's and the worker's sources give, in WithReason and its like, and those of jobs."""
    found: set[str] = set()
    for folder in ("server", "worker", "proto"):
        for path in (ROOT / folder).rglob("*.cc"):
            if "_test" not in path.name:
                found |= set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', path.read_text()))
    return {reason for reason in found if not OTHERS.match(reason)}


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def problems() -> list[str]:
    found = []
    for page in ("errors.md", "troubleshooting.md"):
        text = (ROOT / "docs" / page).read_text()
        found += [f"docs/{page}: no entry for {reason}" for reason in sorted(reasons()) if f"`{reason}`" not in text]
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("client/*/README.md")]
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target, _, anchor = link.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            path = (page.parent / target).resolve() if target else page
            if not path.exists():
                found.append(f"{page.relative_to(ROOT)}: {link} leads nowhere")
            elif anchor and path.suffix == ".md" and anchor not in anchors(path):
                found.append(f"{page.relative_to(ROOT)}: {link}: no such heading")
    menu = (ROOT / "mkdocs.yml").read_text()
    found += [
        f"mkdocs.yml: {page.relative_to(ROOT / 'docs')} is not in the menu"
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if str(page.relative_to(ROOT / "docs")) not in menu
    ]
    if subprocess.run([sys.executable, ROOT / "scripts/api_reference.py", "--check"]).returncode:
        found.append("docs/api.md is out of date")
    return found


def main() -> int:
    if len(reasons()) < 30:
        print("check_docs.py: too few reasons were found in the sources: the way to look for them is out of date", file=sys.stderr)
        return 1
    found = problems()
    print("\n".join(found), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
