#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Programs can say on an open file what they will read, and what they need no more.
. "$TEST_LIB/common.sh"
# Bytes are counted: none are asked for twice.

hint() { "$TEST_TOOLS/ioctl_hint" "$@"; }
# Every byte of the range is right, read past the kernel's page cache.
read_range() # OFF LEN
{
	python3 - "$MNT/big.bin" "$SRV/big.bin" "$1" "$2" <<'PY'
import os, sys
a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:3])
off, n = map(int, sys.argv[3:])
os.posix_fadvise(a, 0, 0, os.POSIX_FADV_RANDOM)
os.posix_fadvise(a, 0, 0, os.POSIX_FADV_DONTNEED)
for at in range(off, off + n, 65536):
    assert os.pread(a, 65536, at) == os.pread(b, 65536, at), at
PY
}
fetched() { [ "$(vmofs_stat bytes_fetched)" -ge "$1" ]; }

make_object big.bin 128M
nginx_start
vmofs_mount "$NGINX_URL/big.bin" "$MNT" -o memory=256M,hedge=0
M=$((1 << 20))

assert_eq $((8 * M)) "$(hint prefetch "$MNT/big.bin" $((32 * M)) $((8 * M)))" "bytes under way"
wait_for 30 fetched $((8 * M))
before=$(vmofs_stat bytes_fetched)
assert_between $((8 * M)) "$before" $((8 * M + 65536)) "bytes fetched"
read_range $((32 * M)) $((8 * M))
# The reader is read ahead of beyond the end of that.
assert_between "$before" "$(vmofs_stat bytes_fetched)" $((before + M)) "bytes fetched after reading what was asked for"

# What is not needed any more is fetched anew.
assert_eq $((8 * M)) "$(hint dontneed "$MNT/big.bin" $((32 * M)) $((8 * M)))"
read_range $((32 * M)) $M
assert_between $((before + M)) "$(vmofs_stat bytes_fetched)" $((before + 8 * M)) "bytes fetched again"

# To the end, beyond it, more than one call takes.
assert_eq $M "$(hint prefetch "$MNT/big.bin" $((127 * M)) 0)"
assert_eq 0 "$(hint prefetch "$MNT/big.bin" $((128 * M)) 0)"
assert_eq 0 "$(hint prefetch "$MNT/big.bin" $((1 << 40)) $M)"
assert_eq $((64 * M)) "$(hint prefetch "$MNT/big.bin" $M $((100 * M)))"

assert_eq EINVAL "$(hint prefetch "$MNT/big.bin" 0xffffffffffffffff 2)"
assert_eq ENOTTY "$(hint unknown "$MNT/big.bin" 0 0)"
assert_eq ENOTTY "$(hint prefetch "$MNT" 0 0)"
assert_eq 0 "$(vmofs_stat read_errors)"
vmofs_umount

# What is under way already counts, and what lies behind it is asked for; the end of a file is no page of it.
make_object odd.bin $((32 * M + 77))
vmofs_mount "$NGINX_URL/odd.bin" "$MNT" -o memory=256M,hedge=0
before=$(vmofs_stat bytes_fetched)
assert_eq 0 "$(hint prefetch "$MNT/odd.bin" $((32 * M + 77)) 0)"
for mib in 8 16 24; do
	assert_eq $((mib * M)) "$(hint prefetch "$MNT/odd.bin" 0 $((mib * M)))" "beside what is under way"
done
wait_for 30 fetched $((before + 24 * M))
assert_eq $((before + 24 * M)) "$(vmofs_stat bytes_fetched)" "bytes fetched"
vmofs_umount
