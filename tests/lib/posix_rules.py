# SPDX-License-Identifier: Apache-2.0
"""Rules of system calls: each is said as a line, what does not hold is counted, and the end says how many there were.

    ok(os.mkdir, "d")                   works
    fails("EEXIST", os.mkdir, "d")      fails so
    same(0o755, mode("d"))              are equal
    limit("EPERM", os.link, "f", "g")   what an object store cannot do, and a local file system can
"""
import atexit
import ctypes
import errno
import os
import stat
import sys
import traceback

NATIVE = bool(os.environ.get("POSIX_IS_NATIVE"))
held, broken = 0, []
libc = ctypes.CDLL(None, use_errno=True)


def _place():
    frame = traceback.extract_stack()[-4]
    return f"line {frame.lineno}: {frame.line}"


def _judge(good, said):
    global held
    held += bool(good)
    if not good:
        broken.append(f"{_place()}: {said}")
        print("BROKEN:", broken[-1], flush=True)


def _call(fn, args):
    try:
        return None, fn(*args)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno)), None


def ok(fn, *args):
    error, value = _call(fn, args)
    _judge(error is None, f"it fails with {error}")
    return value


def fails(names, fn, *args):
    error, _ = _call(fn, args)
    _judge(error in names.split("|"), f"{error or 'it works'} instead of {names}")


def limit(names, fn, *args):
    if not NATIVE:
        error, _ = _call(fn, args)
        _judge(error in names.split("|"), f"{error or 'it works'} instead of {names}, the documented limit")


def same(want, got):
    _judge(want == got, f"{got!r} instead of {want!r}")


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def kind(path):
    return stat.S_IFMT(os.lstat(path).st_mode)


def size(path):
    return os.stat(path).st_size


def names(path="."):
    return sorted(os.listdir(path))


def put(path, text="x"):
    with open(path, "w") as f:
        f.write(text)


def get(path):
    with open(path) as f:
        return f.read()


def opened(path, flags, *more):
    """Opens and closes."""
    os.close(os.open(path, flags, *more))


def with_fd(path, flags, fn, *args):
    """fn(fd, ...) on a descriptor that is closed again."""
    fd = os.open(path, flags, 0o644)
    try:
        return fn(fd, *args)
    finally:
        os.close(fd)


def rename2(old, new, flags):
    if libc.renameat2(-100, old.encode(), -100, new.encode(), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def fallocate(fd, how, off, n):
    if libc.fallocate(fd, how, ctypes.c_long(off), ctypes.c_long(n)):
        raise OSError(ctypes.get_errno(), "fallocate")


@atexit.register
def _end():
    print(f"{held} rules hold, {len(broken)} do not")
    sys.stdout.flush()
    if broken or not held:
        os._exit(1)
