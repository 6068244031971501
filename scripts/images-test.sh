#!/usr/bin/env bash
# scripts/images-test.sh: builds every image of the Dockerfile and runs them: a coordinator and a worker that train, in a network
# of their own, and the worker for GPUs where there is no driver. By buildah as root, without a daemon; files lie in build/images,
# some 15 GB. Where Docker's registry cannot be reached, the base image is made from Debian's packages. Compiled with the cache of
# this machine's ccache.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || { echo "images-test.sh: as root, please" >&2; exit 1; }
state=$PWD/build/images
mkdir -p "$state"
base=debian:bookworm-slim

printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' "$state/root" "$state/run" >"$state/storage.conf"
export CONTAINERS_STORAGE_CONF=$state/storage.conf BUILDAH_ISOLATION=chroot

make_base() {
  local tree sources container
  tree=$(mktemp -d)
  # shellcheck disable=SC2016  # apt's variables
  sources=$(apt-get indextargets --format '$(LABEL) deb $(REPO_URI) $(RELEASE) main' 'Created-By: Packages' |
    sed -n 's/^Debian\(-Security\)\? deb/deb/p' | sort -u)
  debootstrap --variant=minbase bookworm "$tree/root" "$(sed -n 's/^deb \(.*\) bookworm main$/\1/p' <<<"$sources" | head -1)"
  echo "$sources" >"$tree/root/etc/apt/sources.list"
  rm -rf "$tree"/root/usr/share/{doc,info,locale,man}/* "$tree"/root/var/{cache/apt,lib/apt/lists}/*
  tar -C "$tree/root" -cf "$tree/root.tar" .
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$tree/root.tar" / >/dev/null
  buildah config --cmd bash "$container"
  buildah commit --quiet --rm "$container" "$base" >/dev/null
  rm -rf "$tree"
}

# TARGET [OPTION…]. Docker's format is the one that has health checks and shells.
build() {
  printf '\n-- %s\n' "$1"
  buildah bud --format docker --layers --pull-never --target "$1" -t "qzo-$1" "${@:2}" . >"$state/$1.log" 2>&1 ||
    { tail -50 "$state/$1.log" >&2; return 1; }
}

if [ "${1:-}" != run ]; then
  buildah inspect --type image "$base" >/dev/null 2>&1 || timeout 60 buildah pull --quiet "docker.io/library/$base" || make_base
  # What only this machine has goes to the stages that compile: the images themselves are then made of their layers.
  printf '[global]\ncert = /mnt/ca.crt\n' >"$state/pip.conf"
  volumes=(-v "$(ccache -k cache_dir):/root/.cache/ccache" -v "$state/pip.conf:/etc/pip.conf:ro"
    -v /etc/ssl/certs/ca-certificates.crt:/mnt/ca.crt:ro)
  buildah rm --all >/dev/null
  for stage in build build-cuda; do build "$stage" "${volumes[@]}"; done
  for image in coordinator worker-cpu worker-cuda worker-cuda-nccl; do build "$image"; done
  # Processes end with their namespace, whatever happens.
  exec unshare --net --pid --fork --kill-child --mount-proc "$0" run
fi

# --- In a network and with processes of its own ---

ip link set lo up
work=$(mktemp -d)
chmod 755 "$work"  # the images' user reads it
trap 'rm -rf "$work"; buildah rm --all >/dev/null' EXIT

fail() { echo "images-test.sh: $*" >&2; tail -n 30 "$work"/*.log >&2; exit 1; }
field() { buildah inspect --type image --format "{{$2}}" "qzo-$1"; }
entrypoint() { field "$1" 'range .Docker.Config.Entrypoint}}{{.}} {{end'; }
# COMMAND…, every tenth of a second until it succeeds.
eventually() {
  local end=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "within a minute never: $*"
    sleep 0.1
  done
}
# IMAGE FLAG…: the image's program in the container of that name, in the background.
start() {
  # shellcheck disable=SC2046
  buildah run "$1" -- $(entrypoint "$1") "${@:2}" >"$work/$1.log" 2>&1 &
  started[$1]=$!
}
# IMAGE PROGRAM: as `docker stop`.
stop() {
  pkill -TERM -x "$2"
  wait "${started[$1]}" || fail "$1 ended with $?"
}
declare -A started

for image in coordinator worker-cpu worker-cuda worker-cuda-nccl; do
  buildah from --pull-never --name "$image" -v "$PWD/tests/golden:/golden:ro" "qzo-$image" >/dev/null
  program=$(entrypoint "$image")
  [ "$(field "$image" .Docker.Config.User)" = 10001 ] || fail "$image: another user than 10001"
  [ "$(buildah run "$image" -- id -u)" = 10001 ] || fail "$image runs as another user than 10001"
  # shellcheck disable=SC2016  # the container's shell
  buildah run "$image" -- sh -c 'for program in /usr/local/bin/*; do ldd "$program"; done' >"$work/libraries"
  ! grep 'not found' "$work/libraries" || fail "$image lacks libraries"
  # shellcheck disable=SC2086
  buildah run "$image" -- $program --version >/dev/null || fail "$image: its program does not start"
done
buildah images --format '{{.Name}} {{.Size}}' | sed -n 's|^localhost/||p'

health=$(field coordinator 'range .Docker.Config.Healthcheck.Test}}{{.}} {{end')
# shellcheck disable=SC2086
healthy() { buildah run coordinator -- ${health#CMD }; }
! healthy >/dev/null 2>&1 || fail "the coordinator is healthy before it runs"
start coordinator
eventually healthy

cat >"$work/job.yaml" <<'END'
base_model: /golden/models/stories260k/stories260K-Q4_1.gguf
datasets:
  - {path: /golden/data/tiny_train.jsonl, split: train}
  - {path: /golden/data/tiny_test.jsonl, split: test}
task: {kind: classification, prompt: "{text}", options: [He, She]}
method: {steps: 10, batch_size: 8, probes: 4, seed: 7}
END
# IMAGE FLAG…: a job that this worker alone trains.
train() {
  start "$1" "${@:2}"
  buildah run -v "$work:/jobs:ro" coordinator -- qzoctl submit -f /jobs/job.yaml --set "name=on-$1" --wait || fail "$1: no result"
  buildah run coordinator -- qzoctl get jobs "on-$1"
  stop "$1" qzo-worker
}
train worker-cpu
train worker-cuda --device auto
grep -o 'on the CPU: no CUDA device.*' "$work/worker-cuda.log" || fail "worker-cuda does not say that there is no device"
! buildah run worker-cuda -- qzo-worker --device cuda >"$work/forced.log" 2>&1 || fail "--device cuda found a device"
grep -q 'no CUDA device' "$work/forced.log" || fail "--device cuda does not say why it cannot"
# shellcheck disable=SC2016
buildah run worker-cuda-nccl -- sh -c 'ldconfig -p | grep libnccl.so.2 && ldd /usr/local/lib/libnccl.so.2' >"$work/nccl" || fail "NCCL is not there"
! grep 'not found' "$work/nccl" || fail "NCCL lacks libraries"
! buildah run worker-cuda -- grep -q 'built without its header' /usr/local/bin/qzo-worker || fail "worker-cuda was built without NCCL"
for image in worker-cpu worker-cuda; do
  buildah run coordinator -- qzoctl --quiet download journal "on-$image" -f /tmp/journal >/dev/null
  buildah run coordinator -- sha256sum /tmp/journal
done | uniq >"$work/journals"
[ "$(wc -l <"$work/journals")" -eq 1 ] || fail "the two workers' journals differ"
buildah run coordinator -- sh -c 'test -O /var/lib/qzo && find /var/lib/qzo -type f | grep -q .' || fail "/var/lib/qzo is another user's, or empty"
stop coordinator qzo-server
echo "every image was built, and ran"
