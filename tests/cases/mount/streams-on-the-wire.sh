#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Readers with a pattern are read ahead of, and what that costs beyond what they ask for stays below three tenths: pieces at a
# distance, backwards, two places in turn. A look at an archive's end costs what it asks for.
. "$TEST_LIB/common.sh"

# read_as PYTHON: its expression gives the offsets and lengths; bytes are compared with the origin's.
read_as()
{
	python3 - "$MNT/big.bin" "$SRV/big.bin" "$1" <<'PY'
import os, sys
M, K = 1 << 20, 1 << 10
a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:3])
n = 0
for off, size in eval(sys.argv[3]):
    n += size
    assert os.pread(a, size, off) == os.pread(b, size, off), off
print(n)
PY
}

# pattern NAME PYTHON PERCENT: fetched at most that much of what was asked
pattern()
{
	vmofs_mount "$NGINX_URL/big.bin"
	asked=$(read_as "$2")
	fetched=$(vmofs_stat bytes_fetched)
	echo "$1: asked $asked fetched $fetched hits $(vmofs_stat hits) misses $(vmofs_stat misses)"
	assert_between 1 "$fetched" $((asked / 100 * $3)) "$1: bytes fetched for $asked asked"
	assert_eq 0 "$(vmofs_stat read_errors)"
	vmofs_umount
}

make_object big.bin 256M
nginx_start
pattern steps '[(o, 64*K) for o in range(0, 256*M, M)]' 130
pattern "steps back" '[(o, 64*K) for o in range(255*M, -1, -M)]' 130
pattern backwards '[(o, 256*K) for o in range(128*M - 256*K, -1, -256*K)]' 130
pattern "in turn" '[(o + k*128*M, 256*K) for o in range(0, 128*M, 256*K) for k in (0, 1)]' 130
pattern archive '[(256*M - 64*K, 64*K), (256*M - 300*K, 4*K), (100*M, 128*K), (7*M, 32*K)]' 101
