#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Random readers of 4 KiB cause at most a tenth more on the wire than they ask for.
. "$TEST_LIB/common.sh"

make_object big.bin 256M
nginx_start
vmofs_mount "$NGINX_URL/big.bin"
python3 - "$MNT/big.bin" "$SRV/big.bin" <<'PY'
import os, random, sys
random.seed(7)
a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:])
os.posix_fadvise(a, 0, 0, os.POSIX_FADV_RANDOM)
for page in random.sample(range(65536), 1000):
    assert os.pread(a, 4096, page * 4096) == os.pread(b, 4096, page * 4096), page
PY
assert_between 4096000 "$(vmofs_stat bytes_fetched)" 4505600 "bytes fetched for 4096000 asked"
assert_eq 0 "$(vmofs_stat read_errors)"
vmofs_umount
