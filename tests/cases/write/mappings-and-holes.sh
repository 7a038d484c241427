#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Stores through shared mappings, holes, zeros, SEEK_HOLE, O_APPEND by several, O_DIRECT: as with a local file.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

write_start
make_object file 3000000
s3_put "$SRV/file" s3://bucket/file
write_mount
cat >"$TEST_TMP/work.py" <<'PY'
import ctypes, errno, mmap, os, sys, threading
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def fallocate(fd, mode, off, n):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
KEEP, PUNCH, ZERO = 1, 2, 16
fd = os.open("file", os.O_RDWR)
m = mmap.mmap(fd, 0, mmap.MAP_SHARED)
for off in range(100, 2900000, 70001):
    m[off:off + 5] = b"store"
m.flush()
assert os.pread(fd, 5, 70101) == b"store", "a store is not read"
os.pwrite(fd, b"write", 70101)
assert m[70101:70106] == b"write", "a write is not in the mapping"
m.close()
fallocate(fd, PUNCH | KEEP, 500000, 300001)
assert os.pread(fd, 300003, 499999).strip(b"\0")[:1] != b"" and not os.pread(fd, 300001, 500000).strip(b"\0"), "a hole"
fallocate(fd, PUNCH | KEEP, 2999990, 100000)
assert os.fstat(fd).st_size == 3000000, "a hole changed the size"
fallocate(fd, 0, 3000000, 500000)
assert os.fstat(fd).st_size == 3500000 and not os.pread(fd, 500000, 3000000).strip(b"\0"), "room at the end"
try:
    fallocate(fd, ZERO, 3400000, 200000)
    assert os.fstat(fd).st_size == 3600000
except OSError as e:
    assert e.errno == errno.EOPNOTSUPP, e
    os.ftruncate(fd, 3600000)
os.pwrite(fd, b"end", 9000000)
hole = os.lseek(fd, 3600000, os.SEEK_HOLE)
data = os.lseek(fd, hole, os.SEEK_DATA) if hole < 9000003 else hole
assert not os.pread(fd, data - hole, hole).strip(b"\0"), "SEEK_HOLE tells of a hole where bytes are"
try:
    os.lseek(fd, 9000003, os.SEEK_DATA)
    sys.exit("SEEK_DATA at the end works")
except OSError as e:
    assert e.errno == errno.ENXIO, e
os.fsync(fd)
os.close(fd)

def append(i):
    f = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for n in range(200):
        os.write(f, b"%d %03d\n" % (i, n) * 20)
    os.close(f)
ts = [threading.Thread(target=append, args=(i,)) for i in range(5)]
for t in ts: t.start()
for t in ts: t.join()
lines = open("log", "rb").read().split(b"\n")[:-1]
assert len(lines) == 5 * 200 * 20, f"{len(lines)} lines"
for i in range(5):
    mine = [l for l in lines if l.startswith(b"%d " % i)]
    assert mine == sorted(mine) and len(mine) == 4000, "an append is torn"

direct = os.open("direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
m = mmap.mmap(-1, 1 << 20)
m[:] = os.urandom(4096) * 256
assert os.pwrite(direct, m, 1 << 20) == 1 << 20
back = mmap.mmap(-1, 1 << 20)
assert os.preadv(direct, [back], 1 << 20) == 1 << 20 and back[:] == m[:], "O_DIRECT"
assert os.fstat(direct).st_size == 2 << 20
os.close(direct)
PY
mkdir "$TEST_TMP/native"
cp "$SRV/file" "$TEST_TMP/native/"
python3 "$TEST_TMP/work.py" "$TEST_TMP/native" || fail "the case is wrong"
python3 "$TEST_TMP/work.py" "$MNT" || fail "see above"
# An open of the mapping that is closed before its stores have gone out.
for at in "$TEST_TMP/native" "$MNT"; do
	python3 -c 'import mmap, os, sys
fd = os.open(sys.argv[1] + "/mapped", os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 100000)
m = mmap.mmap(fd, 0)
os.close(fd)
m[50000:50010] = b"0123456789"' "$at"
done
assert_same_file "$TEST_TMP/native/file" "$MNT/file"
assert_same_file "$TEST_TMP/native/mapped" "$MNT/mapped"
sync_all
assert_stored file "$TEST_TMP/native/file"
assert_stored mapped "$TEST_TMP/native/mapped"
vmofs_umount

# Nothing may come late where that is asked for.
write_mount "$MNT" exact-dirty
assert_errno ENODEV python3 -c 'import mmap, os, sys
mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)' "$MNT/mapped"
assert_same_file "$TEST_TMP/native/mapped" "$MNT/mapped"
vmofs_umount

# The server stops, and next to nothing may be dirty: what was stored to a mapping is taken all the same, while a write finds no room.
write_mount "$MNT" dirty-limit=1M,timeout=3s,fsync=local
cat >"$TEST_TMP/mapped.py" <<'PY'
import errno, mmap, os, sys
fd = os.open(sys.argv[1] + "/file", os.O_RDWR)
m = mmap.mmap(fd, 6 << 20)
os.pread(fd, 6 << 20, 0)
print("mapped", flush=True)
sys.stdin.readline()
for off in range(0, 6 << 20, 4096):
    m[off:off + 4096] = b"%08d" % off * 512
    if off % (1 << 20) == 0:
        m.flush()
m.flush()
m.close()
if sys.argv[2] == "full":
    try:
        for i in range(8):
            os.pwrite(fd, b"none" * (1 << 18), (7 + i) << 20)
        sys.exit("there is room")
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
os.close(fd)
PY
echo | python3 "$TEST_TMP/mapped.py" "$TEST_TMP/native" free >/dev/null
coproc python3 "$TEST_TMP/mapped.py" "$MNT" full
read -r _ <&"${COPROC[0]}"
kill -STOP "$S3_PID"
echo >&"${COPROC[1]}"
wait "$COPROC_PID" || fail "see above"
assert_between $((5 << 20)) "$(vmofs_stat write.dirty_bytes)" $((7 << 20)) "dirty bytes"
kill -CONT "$S3_PID"
sync_all
cmp -n $((6 << 20)) "$TEST_TMP/native/file" "$MNT/file" || fail "the mount has something else than was mapped"
fetch file
cmp -n $((6 << 20)) "$TEST_TMP/native/file" "$TEST_TMP/fetched" || fail "the bucket has something else than was mapped"
