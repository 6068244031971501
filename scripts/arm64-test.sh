#!/usr/bin/env bash
# scripts/arm64-test.sh: compiles the programs for arm64 and runs on emulated instructions (qemu) what must give the same bits as
# here: unit tests of all that computes, and a job of this machine's programs that an arm64 worker joins. Debian's arm64 packages
# lie in build/arm64-root, unpacked, not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh scripts/packages.txt scripts/packages-check.txt
root=$PWD/build/arm64-root

# The libraries of packages.txt and what they need, fetched by an apt that knows of no other architecture and of nothing installed.
unpack() {
  local state=$PWD/build/arm64-apt packages
  rm -rf "$state" "$root"
  mkdir -p "$state"/{lists/partial,archives/partial} "$root/usr"/{bin,lib,sbin}
  touch "$state/status"
  local apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
    -o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state")
  mapfile -t packages < <(grep -E '^lib.*-dev$|^nlohmann-|^prometheus-' scripts/packages.txt)
  "${apt[@]}" update
  "${apt[@]}" install --download-only --no-install-recommends -y "${packages[@]}" >/dev/null
  ln -s usr/bin usr/lib usr/sbin "$root"
  for package in "$state"/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
  # gRPC's CMake package names its compilers by where they would be installed: this machine's run here.
  for plugin in /usr/bin/grpc_*_plugin; do ln -sf "$plugin" "$root/usr/bin/"; done
  rm -rf "$state"
  touch "$root/complete"
}
[ -e "$root/complete" ] || unpack

scripts/build.sh arm64 base/all method/all kernels/all model/all qzo-server qzo-worker qzoctl
scripts/build.sh release qzo-server qzo-worker qzoctl integration_same_bits_test
ctest --preset arm64 -j "$(nproc)"

# A worker that this machine can start.
worker=$PWD/build/arm64/emulated-worker
printf '#!/bin/sh\nexec qemu-aarch64 -L %s %s/build/arm64/bin/qzo-worker "$@"\n' "$root" "$PWD" >"$worker"
chmod +x "$worker"
QZO_SOURCE_DIR=$PWD QZO_BIN_DIR=$PWD/build/release/bin QZO_OTHER_WORKER=$worker \
  build/release/tests/integration_same_bits_test --gtest_filter='*AnotherProcessor*'
