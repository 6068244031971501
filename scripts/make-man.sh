#!/usr/bin/env bash
# scripts/make-man.sh OUT_DIR [BIN_DIR]: manual pages of the programs in BIN_DIR (default build/release/bin) and of qzoctl's verbs, out of
# their own --help, which is made of the flags' one definition. Needs help2man.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?make-man.sh: where to?}
bin=${2:-build/release/bin}
mkdir -p "$out"

# page NAME ONE-LINE-DESCRIPTION COMMAND…
page() {
  local name=$1 what=$2 wrapper
  shift 2
  wrapper=$(mktemp)
  # help2man runs one file with --help and --version.
  {
    echo '#!/bin/sh'
    if [ $# -gt 1 ]; then echo "exec '$1' '$2' --help"; else echo "exec '$1' \"\$@\""; fi
  } >"$wrapper"
  chmod +x "$wrapper"
  help2man --no-info --no-discard-stderr --section=1 --name="$what" --version-string=QZO --source=QZO "$wrapper" |
    sed "s/${wrapper##*/}/$name/Ig" >"$out/$name.1"
  rm "$wrapper"
}

page qzo-server "coordinates fine-tuning jobs over workers" "$bin/qzo-server"
page qzo-worker "runs the forward passes of fine-tuning jobs" "$bin/qzo-worker"
page qzoctl "submits and steers fine-tuning jobs" "$bin/qzoctl"
"$bin/qzoctl" --help | sed -n '/^Subcommands:/,$p' | sed -n 's/^  \([a-z]\{1,\}\) \{1,\}\(.*\)/\1\t\2/p' |
  while IFS=$'\t' read -r verb what; do page "qzoctl-$verb" "$what" "$bin/qzoctl" "$verb"; done
