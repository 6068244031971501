#!/usr/bin/env bash
# scripts/docs-test.sh [BIN_DIR]: the documents as a site, in mkdocs' strict mode; manual pages of every program and verb in BIN_DIR (default
# build/release/bin), without a complaint of groff's; completion scripts that fish and zsh accept.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/release/bin}
venv=build/docs
[ -x $venv/bin/python ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check mkdocs==1.6.1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

$venv/bin/mkdocs build --quiet --strict --site-dir "$work/site"
for page in tutorial http api troubleshooting adr/0010-http-mapping-beside-the-protos; do
  test -s "$work/site/$page/index.html"
done

scripts/make-man.sh "$work/man" "$bin"
mapfile -t verbs < <("$bin/qzoctl" --help | sed -n '/^Subcommands:/,$s/^  \([a-z]\{1,\}\) .*/\1/p')
[ ${#verbs[@]} -ge 25 ] || { echo "docs-test.sh: found too few verbs in qzoctl --help" >&2; exit 1; }
for name in qzo-server qzo-worker qzoctl "${verbs[@]/#/qzoctl-}"; do
  page=$work/man/$name.1
  complaints=$(groff -man -Tutf8 -ww -z "$page" 2>&1)
  [ -z "$complaints" ] || { echo "$name.1: $complaints" >&2; exit 1; }
  grep -q '^\.SH OPTIONS' "$page" || { echo "$name.1: no options" >&2; exit 1; }
done

for shell in fish zsh; do
  "$bin/qzoctl" completion $shell >"$work/completion.$shell"
  $shell -n "$work/completion.$shell" # accepts it, runs nothing
done
export PATH="$PWD/$bin:$PATH"
completed() { fish --no-config --command "source $work/completion.fish; complete --do-complete '$1'" >"$work/completed"; }
completed "qzoctl dow" && grep -q ^download "$work/completed"
completed "qzoctl download j" && grep -q ^journal "$work/completed"
echo "site, $(find "$work/man" -name '*.1' | wc -l) manual pages and completion: good"
