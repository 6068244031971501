#!/usr/bin/env bash
# The long gate, before a release: everything scripts/test.sh does not have time for. Each part can be run alone:
#   scripts/check.sh [clang] [asan] [tsan] [tidy] [format] [fuzz] [simulator] [shell] [python] [tokenizers] [deploy] [browser] [http]
#     [languages] [docs] [interop] [gptq] [pipeline] [tutorial] [arm64] [images]
# Without a name all but images, which compiles every program twice from nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(shell format clang asan tsan tidy simulator pipeline python tokenizers deploy browser http languages docs interop gptq tutorial arm64 fuzz)
scripts/install.sh scripts/packages.txt scripts/packages-check.txt

sources() { git ls-files '*.h' '*.cc'; }

# One fuzzer from its corpus; what it finds stays in build/fuzz/found.
fuzz() {
  local name=${1##*/fuzz_} new status=0
  new=$(mktemp -d)
  mkdir -p build/fuzz/found
  "$1" -max_total_time="${QZO_FUZZ_SECONDS:-600}" -rss_limit_mb=4096 -artifact_prefix="build/fuzz/found/$name-" \
    "$new" "tests/fuzz/corpus/$name" >"build/fuzz/$name.log" 2>&1 || status=$?
  rm -rf "$new"
  if [ "$status" -eq 0 ]; then printf '%s: ' "$name" && tail -1 "build/fuzz/$name.log"; else cat "build/fuzz/$name.log"; fi
  return "$status"
}
export -f fuzz

for part in "${parts[@]}"; do
  printf '\n== %s\n' "$part"
  case $part in
    shell) { git ls-files '*.sh'; echo .ci/run; } | xargs shellcheck ;;
    format) sources | xargs clang-format-14 --dry-run --Werror ;;
    clang) # optimized, what must give the same bits whoever compiled it
      scripts/build.sh clang-dev base/all method/all kernels/all model/all
      ctest --preset clang-dev -j "$(nproc)" -R '^(base|method|kernels|cuda|model|graph)_'
      ;;
    asan) # also clang's warnings and thread-safety analysis of everything
      scripts/build.sh asan
      ctest --preset asan -j "$(nproc)"
      ;;
    tsan) # gRPC and OpenSSL are not instrumented: only what does without them
      scripts/build.sh tsan base_fs_test kernels_parallel_test server_sqlite_store_test server_simulator_test
      TSAN_OPTIONS=ignore_noninstrumented_modules=1 ctest --preset tsan -R 'base_fs|kernels_parallel|server_sqlite_store_test|server_simulator'
      ;;
    tidy)
      scripts/build.sh clang-dev qzo_proto
      git ls-files '*.cc' | grep -v -e _test.cc -e _bench.cc -e ^bench/ -e ^tests/ | xargs -P "$(nproc)" -n 4 clang-tidy-14 --quiet -p build/clang-dev
      ;;
    simulator)
      scripts/build.sh release server_simulator_test
      QZO_SIMULATOR_SEEDS=100000 QZO_SIMULATOR_FIRST=1000000 build/release/tests/server_simulator_test --gtest_filter='*Every*'
      ;;
    pipeline) # a model held by three workers in network namespaces of their own; 77: there can be none here
      scripts/build.sh release qzo-server qzo-worker qzoctl
      bench/pipeline.sh --quick || [ $? -eq 77 ]
      ;;
    python)
      scripts/python-test.sh
      build/python/bin/pip install --quiet --disable-pip-version-check --no-build-isolation "./client/python[types]"
      build/python/bin/mypy --config-file client/python/pyproject.toml client/python/qzo client/gateway/qzo_gateway \
        client/python/tests/types_of_a_program.py
      ;;
    deploy)
      scripts/build.sh release qzo-server qzo-worker qzoctl
      scripts/deploy-test.sh
      ;;
    browser)
      scripts/build.sh release qzo-server qzo-worker qzoctl
      scripts/browser-test.sh
      ;;
    http | languages | docs)
      scripts/build.sh release qzo-server qzo-worker qzoctl
      "scripts/$part-test.sh"
      ;;
    tutorial) scripts/tutorial_test.py ;;
    arm64 | images) "scripts/$part-test.sh" ;;
    tokenizers)
      scripts/build.sh release tokenize
      scripts/tokenizer-test.sh
      ;;
    interop | gptq)
      scripts/build.sh release qzoctl
      "scripts/$part-test.sh"
      ;;
    fuzz) # QZO_FUZZ_SECONDS each, 600 by default
      scripts/build.sh fuzz fuzzers
      printf '%s\n' build/fuzz/fuzzers/fuzz_* | xargs -P "$(nproc)" -I{} bash -c 'fuzz {}'
      ;;
    *) echo "check.sh: unknown part $part" >&2; exit 2 ;;
  esac
done
