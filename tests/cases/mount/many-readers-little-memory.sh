#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Readers side by side of more than fits into memory: all read the right bytes, and the budget holds.
. "$TEST_LIB/common.sh"

make_object big.bin 96M
nginx_start
vmofs_mount "$NGINX_URL/big.bin" "$MNT" -o memory=16M
python3 - "$MNT/big.bin" "$SRV/big.bin" <<'PY'
import os, random, sys, threading
bad = []
def sequential(start):
    a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:])
    for off in range(start << 20, 96 << 20, 1 << 20):
        if os.pread(a, 1 << 20, off) != os.pread(b, 1 << 20, off):
            bad.append(off)
def rand(seed):
    r = random.Random(seed)
    a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:])
    for _ in range(300):
        off = r.randrange(96 << 20)
        if os.pread(a, 10000, off) != os.pread(b, 10000, off):
            bad.append(off)
ts = [threading.Thread(target=sequential, args=(i * 20,)) for i in range(4)]
ts += [threading.Thread(target=rand, args=(i,)) for i in range(4)]
for t in ts: t.start()
for t in ts: t.join()
sys.exit("wrong bytes at %s" % bad[:5] if bad else 0)
PY
assert_between 1 "$(vmofs_stat memory_peak)" 16777216 "peak of memory"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
vmofs_umount
