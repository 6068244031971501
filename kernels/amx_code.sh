#!/usr/bin/env bash
# kernels/amx_code.sh LIBRARY: checks the machine code of the AMX variant, which few machines can run. Each product must be the
# instruction that simd_amx.h means, with x (tmm6) before the codes (tmm4, tmm5), and tiles must be configured and released.
set -euo pipefail
object=$(mktemp)
trap 'rm -f "$object"' EXIT
ar p "${1:?library}" x86_amx.cc.o >"$object"
code=$(objdump -d -M intel --no-show-raw-insn "$object")
count() { grep -cE "$1" <<<"$code" || true; }

failed=0
expect() { # WHAT PATTERN LEAST
  local found
  found=$(count "$2")
  if [ "$found" -lt "$3" ]; then
    echo "amx_code.sh: $1: $found instructions, expected at least $3" >&2
    failed=1
  fi
}
# Two vectors of columns; with and without minimum, scales over 32 and over 16 values: 12 products of codes of 8 bits, as
# many of the high bytes of those of 16 bits, and of the low ones.
expect "products of signed bytes" '\stdpbssd tmm[0-3],tmm6,tmm[45]$' 24
expect "products of unsigned bytes" '\stdpbusd tmm[0-3],tmm6,tmm4$' 12
expect "products stored" '\stilestored \[.*\],tmm[0-3]$' 36
expect "rows loaded" '\stileloadd tmm6,\[' 12
expect "configurations" '\sldtilecfg \[' 1
expect "releases" '\stilerelease' 1
others=$(grep -E '\stdp' <<<"$code" | grep -cvE 'tdpbssd tmm[0-3],tmm6,tmm[45]$|tdpbusd tmm[0-3],tmm6,tmm4$' || true)
if [ "$others" -ne 0 ]; then
  echo "amx_code.sh: $others products with other operands" >&2
  failed=1
fi
exit "$failed"
