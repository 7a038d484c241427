#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A file that is whole in the cache is read by the kernel itself: same bytes by read, mmap and O_DIRECT, nothing of it
# seen by the daemon, whatever is open or mapped meanwhile.
# TIMEOUT: 240
. "$TEST_LIB/common.sh"
need_root
need python3

CACHE=$TEST_TMP/cache
SIZE=9000000
make_object f $SIZE
nginx_start

# How the file at $1 reads now, against $2: what the kernel had cached of it is dropped before.
cat >"$TEST_TMP/look.py" <<'PY'
import ctypes, mmap, os, sys
path, want = sys.argv[1], open(sys.argv[2], "rb").read()
fds = [os.open(path, os.O_RDONLY) for _ in range(5)]
f = fds[0]
os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
assert b"".join(iter(lambda: os.read(f, 1 << 20), b"")) == want, "read"
d = os.open(path, os.O_RDONLY | os.O_DIRECT)
buf = mmap.mmap(-1, 1 << 20)
for off in range(0, len(want), 3 << 20):
    n = os.preadv(d, [buf], off)
    assert buf[:n] == want[off:off + n] and n, "O_DIRECT"
for flags in mmap.MAP_SHARED, mmap.MAP_PRIVATE:
    with mmap.mmap(f, len(want), flags=flags, prot=mmap.PROT_READ) as m:
        assert m[:] == want, "mmap"
for g in fds[1:]:
    assert os.pread(g, 4096, 5 << 20) == want[5 << 20:(5 << 20) + 4096], "another descriptor"
PY
look() { python3 "$TEST_TMP/look.py" "$1" "$2" || fail "$1 reads wrong"; }

mount_it() # [OPTION...]
{
	vmofs_mount "$NGINX_URL/f" "$MNT" -o "cache-dir=$CACHE" "$@"
}

# The cache verifies what it has when it is asked for the whole; opens go on being answered meanwhile.
opens_through() { head -c 1 "$MNT/f" >/dev/null && [ "$(vmofs_stat passthrough)" -gt 0 ]; }

mount_it
grep "no passthrough" "$LOG" && skip "$(sed -n 's/.*no passthrough, files are read through the daemon: //p' "$LOG" | head -n 1)"

# ---- open before it is whole: cached till the last release, for all who come; so is a mapping after close ----
python3 - "$MNT/f" "$SRV/f" <<'PY' || fail "opens while it is cached"
import ctypes, os, sys, time
path, want = sys.argv[1], open(sys.argv[2], "rb").read()
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
f = os.open(path, os.O_RDONLY)
assert os.pread(f, len(want), 0) == want
for i in range(20):
    g = os.open(path, os.O_RDONLY)
    assert os.pread(g, 4096, 4096 * i) == want[4096 * i:4096 * i + 4096]
    os.close(g)
    time.sleep(0.02)
at = libc.mmap(None, len(want), 1, 1, f, 0)
assert at not in (None, ctypes.c_void_p(-1).value)
os.close(f)
for i in range(20):
    g = os.open(path, os.O_RDONLY)
    assert os.pread(g, 4096, 8192) == want[8192:8192 + 4096]
    os.close(g)
    time.sleep(0.02)
assert ctypes.string_at(at, len(want)) == want
PY
assert_eq 0 "$(vmofs_stat passthrough)" "opens by passthrough while it is cached"

# ---- everything is closed: from here on the kernel reads ----
wait_for 20 opens_through || fail "no open by passthrough: $(vmofs_stat cache)"
before=$(vmofs_stat reads)
look "$MNT/f" "$SRV/f"
assert_eq "$before" "$(vmofs_stat reads)" "reads seen by the daemon"
vmofs_umount

# ---- after a restart ----
mount_it
wait_for 20 opens_through || fail "no open by passthrough after a restart"
assert_eq 0 "$(vmofs_stat bytes_fetched)" "bytes fetched after a restart"
before=$(vmofs_stat reads)
look "$MNT/f" "$SRV/f"
assert_eq "$before" "$(vmofs_stat reads)" "reads seen by the daemon"

# ---- an overlay fits on top ----
mkdir "$TEST_TMP/upper" "$TEST_TMP/work" "$TEST_TMP/over"
if mount -t overlay overlay -o "lowerdir=$MNT,upperdir=$TEST_TMP/upper,workdir=$TEST_TMP/work" "$TEST_TMP/over"; then
	assert_same_file "$SRV/f" "$TEST_TMP/over/f"
	umount "$TEST_TMP/over"
else
	grep -q overlay /proc/filesystems && fail "overlayfs does not take the mount"
fi

# ---- a mapping outlives its descriptor, the cache's entry, and the mount; it stays right ----
python3 - "$MNT/f" "$SRV/f" "$VMOFS" "$CACHE" <<'PY' || fail "a mapping of a file that the cache has dropped"
import ctypes, os, subprocess, sys
path, want, vmofs, cache = sys.argv[1], open(sys.argv[2], "rb").read(), sys.argv[3], sys.argv[4]
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
f = os.open(path, os.O_RDONLY)
at = libc.mmap(None, len(want), 1, 1, f, 0)
os.close(f)
subprocess.run([vmofs, "umount", "-l", os.path.dirname(path)], check=True)
subprocess.run([vmofs, "cache", "clear", cache], check=True, stdout=subprocess.DEVNULL)
assert ctypes.string_at(at, len(want)) == want
PY
wait_for 20 sh -c "! findmnt -rn '$MNT' >/dev/null" || fail "it is still mounted"

# ---- the object changes at its origin: whoever has it open keeps it, others see the new one ----
mkdir -p "$SRV/d"
cp "$SRV/f" "$SRV/d/f"
cp "$SRV/f" "$TEST_TMP/old"
end_pid "$NGINX_PID"
nginx_start "autoindex on; autoindex_format json;"
vmofs_mount "$NGINX_URL/d/" "$MNT" -o "cache-dir=$CACHE,metadata-ttl=0"
assert_same_file "$SRV/d/f" "$MNT/f"
wait_for 20 opens_through || fail "no open by passthrough in a tree"
exec 7<"$MNT/f"
sleep 1.1 # dates of index pages have whole seconds
make_object d/f $SIZE
changed() { cmp -s "$SRV/d/f" "$MNT/f"; }
wait_for 20 changed || fail "the new contents are not seen"
assert_same_file "$TEST_TMP/old" /proc/self/fd/7
exec 7<&-
wait_for 20 opens_through
look "$MNT/f" "$SRV/d/f"
vmofs_umount

# ---- without it everything is read through the daemon, and a file system may be mounted from a file of ours ----
mount_it -o passthrough=no
look "$MNT/f" "$SRV/f"
look "$MNT/f" "$SRV/f"
assert_eq 0 "$(vmofs_stat passthrough)" "opens by passthrough that was refused"
vmofs_umount
command -v mkfs.erofs >/dev/null || exit 0
modprobe erofs 2>/dev/null || :
grep -q erofs /proc/filesystems || exit 0
mkdir "$TEST_TMP/tree" "$TEST_TMP/ero"
cp "$SRV/f" "$TEST_TMP/tree/x"
mkfs.erofs --quiet "$SRV/image" "$TEST_TMP/tree"
vmofs_mount "$NGINX_URL/image" "$MNT" -o "cache-dir=$CACHE,passthrough=no"
python3 -c '
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(sys.argv[1].encode(), sys.argv[2].encode(), b"erofs", 1, None):
    sys.exit(os.strerror(ctypes.get_errno()))' "$MNT/image" "$TEST_TMP/ero" || fail "EROFS from a file of the mount"
assert_same_file "$SRV/f" "$TEST_TMP/ero/x"
umount "$TEST_TMP/ero"
