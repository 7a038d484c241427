#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# open, creat, read and write: flags, errors, offsets, and times.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
. "$TEST_LIB/posix.sh"

posix_start object-metadata
posix_rules <<'PY'
from posix_rules import *
import time
os.umask(0o022)
RW, CREAT, EXCL, TRUNC, APPEND, DIR, NOFOLLOW = os.O_RDWR, os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW
R, W = os.O_RDONLY, os.O_WRONLY
fails("ENOENT", opened, "f", R)
fails("ENOENT", opened, "f", W)
fails("ENOENT", opened, "none/f", W | CREAT, 0o644)
ok(opened, "f", W | CREAT | EXCL, 0o666)
same(0o644, mode("f"))
same(0, size("f"))
same(1, os.stat("f").st_nlink)
same((os.geteuid(), os.getegid()), (os.stat("f").st_uid, os.stat("f").st_gid))
fails("EEXIST", opened, "f", W | CREAT | EXCL, 0o644)
ok(opened, "f", W | CREAT, 0o600)
same(0o644, mode("f"))
fails("ENOTDIR", opened, "f/x", R)
fails("ENOTDIR", opened, "f/x", W | CREAT, 0o644)
fails("ENOTDIR", opened, "f/", R)
fails("EISDIR|ENOTDIR", opened, "f/", W | CREAT, 0o644)
fails("ENOTDIR", opened, "f", R | DIR)
ok(os.mkdir, "d")
fails("EISDIR", opened, "d", W)
fails("EISDIR", opened, "d", RW)
fails("EISDIR", opened, "d", W | CREAT, 0o644)
fails("EEXIST", opened, "d", W | CREAT | EXCL, 0o644)
ok(opened, "d", R | DIR)
fails("EISDIR", with_fd, "d", R, os.read, 10)
fails("EBADF", with_fd, "f", R, os.write, b"x")
fails("EBADF", with_fd, "f", W, os.read, 1)
fails("EINVAL", with_fd, "f", R, os.ftruncate, 0)
fails("ENAMETOOLONG", opened, "n" * 256, W | CREAT, 0o644)
fails("ENAMETOOLONG", opened, "n" * 256, R)
ok(opened, "n" * 255, W | CREAT, 0o644)
ok(os.unlink, "n" * 255)
for m in (0o600, 0o640, 0o755, 0o444, 0o200):
    name = "mode%o" % m
    ok(opened, name, W | CREAT | EXCL, m)
    same(m & ~0o022, mode(name))
# A file that may not be written can be written by who made it.
fd = ok(os.open, "readonly", RW | CREAT | EXCL, 0o444)
ok(os.write, fd, b"text")
os.close(fd)
same("text", get("readonly"))

put("t", "0123456789")
same(3, ok(with_fd, "t", W, os.write, b"abc"))
same("abc3456789", get("t"))
ok(with_fd, "t", W | APPEND, os.write, b"end")
same("abc3456789end", get("t"))
# Also with an offset.
fd = os.open("t", RW | APPEND)
os.lseek(fd, 0, 0)
os.write(fd, b"!")
same(14, os.lseek(fd, 0, 1))
same(b"abc3456789end!", os.pread(fd, 100, 0))
same(b"", os.pread(fd, 10, 14))
same(b"", os.pread(fd, 10, 1000))
same(b"d!", os.pread(fd, 10, 12))
fails("EINVAL", os.lseek, fd, -1, 0)
os.close(fd)
ok(opened, "t", R | CREAT | os.O_CLOEXEC, 0o644)
same(14, size("t"))
ok(opened, "t", W | TRUNC)
same(0, size("t"))
# A write beyond the end leaves zeros.
with open("sparse", "wb") as f:
    f.seek(100000)
    f.write(b"end")
same(100003, size("sparse"))
with open("sparse", "rb") as f:
    same(b"\0" * 100000 + b"end", f.read())
# Two descriptors of one file see each other's bytes at once.
a, b = os.open("two", RW | CREAT, 0o644), os.open("two", RW)
os.write(a, b"from a")
same(b"from a", os.read(b, 10))
os.ftruncate(b, 2)
same(2, os.fstat(a).st_size)
os.pwrite(b, b"z" * 5000, 4000)
same(9000, os.fstat(a).st_size)
same(b"fr" + b"\0" * 3998 + b"z" * 5000, os.pread(a, 10000, 0))
os.close(a), os.close(b)
# Times: a write changes mtime and ctime, a read changes neither.
put("time", "x")
os.utime("time", (1000000000, 1000000000))
same(1000000000, int(os.stat("time").st_mtime))
get("time")
same(1000000000, int(os.stat("time").st_mtime))
before = time.time() - 2
with open("time", "a") as f:
    f.write("y")
same(True, os.stat("time").st_mtime >= before)
fd = os.open("time", RW)
os.utime(fd, (1100000000, 1100000000.5))
os.close(fd)
same(1100000000500000000, os.stat("time").st_mtime_ns)
# Symbolic links, and what opens through them.
ok(os.symlink, "t", "link")
same("t", os.readlink("link"))
same(stat.S_IFLNK, kind("link"))
fails("ELOOP", opened, "link", R | NOFOLLOW)
fails("EEXIST", os.symlink, "x", "link")
fails("EEXIST", opened, "link", W | CREAT | EXCL, 0o644)
put("link", "through")
same("through", get("t"))
ok(os.symlink, "nowhere", "dangling")
fails("ENOENT", opened, "dangling", R)
fails("EINVAL", os.readlink, "t")
ok(os.unlink, "link")
same("through", get("t"))
# Neither a device nor a second name can be kept in an object.
limit("EPERM|ENOTSUP|ENOSYS", os.mkfifo, "fifo")
limit("EPERM|ENOTSUP|ENOSYS", os.link, "t", "hard")
fails("ENOENT", os.stat, "hard")
PY
