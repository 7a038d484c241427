#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Objects larger than memory, many readers: what does not fit comes back from the disk, and the budget holds.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"

make_object big.bin 64M
nginx_start
cache_mount "$NGINX_URL/big.bin" "$MNT" -o memory=16M
python3 - "$MNT/big.bin" "$SRV/big.bin" <<'PY'
import os, random, sys, threading
bad = []
def rand(seed):
    r = random.Random(seed)
    a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:])
    os.posix_fadvise(a, 0, 0, os.POSIX_FADV_RANDOM)
    for i in range(400):
        off = r.randrange(64 << 20)
        if os.pread(a, 30000, off) != os.pread(b, 30000, off):
            bad.append(off)
        if i % 50 == 0:
            os.posix_fadvise(a, 0, 0, os.POSIX_FADV_DONTNEED)
def sequential(start):
    a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:])
    for _ in range(2):
        for off in range(start << 20, 64 << 20, 1 << 20):
            if os.pread(a, 1 << 20, off) != os.pread(b, 1 << 20, off):
                bad.append(off)
        os.posix_fadvise(a, 0, 0, os.POSIX_FADV_DONTNEED)
ts = [threading.Thread(target=rand, args=(i,)) for i in range(4)]
ts += [threading.Thread(target=sequential, args=(i * 20,)) for i in range(3)]
for t in ts: t.start()
for t in ts: t.join()
sys.exit("wrong bytes at %s" % bad[:5] if bad else 0)
PY
assert_between 1 "$(vmofs_stat memory_peak)" 16777216 "peak of memory"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
assert_between 1 "$(vmofs_stat cache.hits)" 1000000 "pages read from the cache"
vmofs_umount
cache_mount "$NGINX_URL/big.bin" "$MNT" -o memory=16M
assert_same_file "$SRV/big.bin" "$MNT/big.bin"
vmofs_umount
