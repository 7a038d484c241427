#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# truncate, chmod, chown, utimens, statfs, fallocate, locks: what they do, and what is kept in the bucket.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
. "$TEST_LIB/posix.sh"

posix_start object-metadata,xattrs
posix_rules <<'PY'
from posix_rules import *
import fcntl
os.umask(0o022)
# truncate
put("t", "0123456789")
ok(os.truncate, "t", 4)
same("0123", get("t"))
ok(os.truncate, "t", 8)
same("0123\0\0\0\0", get("t"))
ok(os.truncate, "t", 0)
same("", get("t"))
ok(os.truncate, "t", 123456)
same(123456, size("t"))
fails("ENOENT", os.truncate, "none", 0)
fails("EINVAL", os.truncate, "t", -1)
ok(os.mkdir, "d")
fails("EISDIR", os.truncate, "d", 0)
fails("ENOTDIR", os.truncate, "t/x", 0)
fails("EFBIG|EINVAL", os.truncate, "t", (1 << 63) - 1)
fd = os.open("t", os.O_RDWR)
ok(os.ftruncate, fd, 5)
same(5, os.fstat(fd).st_size)
same(5, size("t"))
os.pwrite(fd, b"abcdef", 3)
same(9, size("t"))
# fallocate
ok(fallocate, fd, 0, 0, 20000)
same(20000, size("t"))
same(b"\0\0\0abcdef\0", os.pread(fd, 10, 0))
ok(fallocate, fd, 1 | 2, 3, 3)
same(b"\0\0\0\0\0\0def\0", os.pread(fd, 10, 0))
fails("ENOTSUP|EINVAL", fallocate, fd, 2, 0, 10)
fails("EINVAL", fallocate, fd, 0, -1, 10)
fails("EINVAL", fallocate, fd, 0, 0, 0)
ok(os.posix_fallocate, fd, 0, 30000)
same(30000, size("t"))
os.close(fd)
fails("EBADF", with_fd, "t", os.O_RDONLY, fallocate, 0, 0, 10)
# chmod, chown
put("m")
for bits in (0o600, 0o755, 0o444, 0o000, 0o1644):
    ok(os.chmod, "m", bits)
    same(bits, mode("m"))
ok(os.chmod, "m", 0o644)
ok(with_fd, "m", os.O_RDONLY, os.fchmod, 0o640)
same(0o640, mode("m"))
fails("ENOENT", os.chmod, "none", 0o644)
if os.geteuid() == 0:
    ok(os.chown, "m", 1234, 2345)
    same((1234, 2345), (os.stat("m").st_uid, os.stat("m").st_gid))
    ok(os.chown, "m", -1, 77)
    same((1234, 77), (os.stat("m").st_uid, os.stat("m").st_gid))
    fails("ENOENT", os.chown, "none", 0, 0)
# times
ok(os.utime, "m", (1500000000, 1500000000.25))
same(1500000000250000000, os.stat("m").st_mtime_ns)
ok(os.utime, "m", None)
same(True, os.stat("m").st_mtime > 1600000000)
ok(os.utime, "m", (1500000000, 1500000000))
fails("ENOENT", os.utime, "none", None)
same(1, size("m"))
same("x", get("m"))
# of directories
ok(os.mkdir, "dm", 0o700)
same(0o700, mode("dm"))
for bits in (0o755, 0o500, 0o1777, 0o750):
    ok(os.chmod, "dm", bits)
    same(bits, mode("dm"))
ok(os.utime, "dm", (1500000000, 1500000000.25))
same(1500000000250000000, os.stat("dm").st_mtime_ns)
put("dm/f")
same(True, os.stat("dm").st_mtime > 1600000000)
ok(os.utime, "dm", (1500000000, 1500000000))
same(["f"], names("dm"))
same(1500000000, os.stat("dm").st_mtime)
if os.geteuid() == 0:
    ok(os.chown, "dm", 1234, 2345)
    same((1234, 2345), (os.stat("dm").st_uid, os.stat("dm").st_gid))
ok(os.rename, "dm", "dn")
same(0o750, mode("dn"))
same(["f"], names("dn"))
os.unlink("dn/f")
ok(os.rmdir, "dn")
fails("ENOENT", os.chmod, "dn", 0o755)
ok(os.mkdir, "dn")
same(0o755, mode("dn"))
os.rmdir("dn")
# extended attributes
put("x")
ok(os.setxattr, "x", "user.a", b"one")
same(b"one", os.getxattr("x", "user.a"))
ok(os.setxattr, "x", "user.a", b"two", os.XATTR_REPLACE)
fails("EEXIST", os.setxattr, "x", "user.a", b"no", os.XATTR_CREATE)
fails("ENODATA", os.setxattr, "x", "user.b", b"no", os.XATTR_REPLACE)
ok(os.setxattr, "x", "user.b", b"", os.XATTR_CREATE)
ok(os.setxattr, "x", "user.\u00e4 \",:{}\\%", bytes(range(256)))
same([b"two", b"", bytes(range(256))], [os.getxattr("x", n) for n in ("user.a", "user.b", "user.\u00e4 \",:{}\\%")])
same(["user.a", "user.b", "user.\u00e4 \",:{}\\%"], sorted(n for n in os.listxattr("x") if n.startswith("user.")))
before = os.stat("x").st_mtime_ns
ok(os.removexattr, "x", "user.b")
same(before, os.stat("x").st_mtime_ns)
fails("ENODATA", os.removexattr, "x", "user.b")
fails("ENODATA", os.getxattr, "x", "user.b")
fails("ENODATA", os.getxattr, "x", "user.none")
fails("ENOENT", os.setxattr, "none", "user.a", b"")
fails("ENOENT", os.listxattr, "none")
fails("ENOTSUP", os.setxattr, "x", "unknown.a", b"")
fails("ENOSPC|E2BIG", os.setxattr, "x", "user.big", b"x" * 66000)
limit("ENOSPC", os.setxattr, "x", "user.big", b"x" * 3000)
limit("EPERM", os.setxattr, "x", "user.vmofs.url", b"x")
limit("ENOTSUP", os.setxattr, "x", "trusted.a", b"x")
limit("ENOTSUP", os.setxattr, "d", "user.a", b"x")
same(b"two", with_fd("x", os.O_RDONLY, os.getxattr, "user.a"))
ok(with_fd, "x", os.O_RDONLY, os.setxattr, "user.fd", b"f")
same(b"f", os.getxattr("x", "user.fd"))
os.symlink("x", "xl")
same(b"f", os.getxattr("xl", "user.fd"))
fails("EPERM", lambda: os.setxattr("xl", "user.a", b"x", follow_symlinks=False))
os.unlink("xl")
ok(os.rename, "x", "y")
same(b"two", os.getxattr("y", "user.a"))
put("x")
same([], [n for n in os.listxattr("x") if n.startswith("user.")])
ok(os.rename, "x", "y")
same([], [n for n in os.listxattr("y") if n.startswith("user.")])
if os.geteuid() == 0:
    os.chmod("y", 0o444)
    ok(os.setxattr, "y", "user.a", b"x")
os.unlink("y")
# statfs
v = os.statvfs(".")
same(True, v.f_namemax >= 255 and v.f_bsize > 0 and v.f_blocks > 0 and v.f_bavail > 0)
same(0, v.f_flag & os.ST_RDONLY)
# Locks are of this mount only.
a, b = os.open("m", os.O_RDWR), os.open("m", os.O_RDWR)
ok(fcntl.flock, a, fcntl.LOCK_EX)
fails("EAGAIN", fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
ok(fcntl.flock, a, fcntl.LOCK_UN)
ok(fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.close(b)
ok(fcntl.lockf, a, fcntl.LOCK_EX | fcntl.LOCK_NB)
pid = os.fork()
if pid == 0:
    try:
        fcntl.lockf(os.open("m", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
        os._exit(0)
    except OSError as e:
        os._exit(e.errno)
same(errno.EAGAIN, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.close(a)
# sync
ok(os.sync)
fd = os.open("d", os.O_RDONLY)
ok(os.fsync, fd)
os.close(fd)
ok(with_fd, "m", os.O_RDONLY, os.fsync)
ok(with_fd, "m", os.O_RDONLY, os.fdatasync)
PY
[ -z "${POSIX_NATIVE:-}" ] || exit 0
# Another mount sees the mode, the owner and the times.
sync_all
vmofs_umount
write_mount "$MNT" object-metadata
if [ "$(id -u)" -eq 0 ]; then
	assert_eq "640 1234 77 1500000000" "$(stat -c '%a %u %g %Y' "$MNT/m")" "attributes in the bucket"
fi
assert_eq x "$(cat "$MNT/m")"
