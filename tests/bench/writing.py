# SPDX-License-Identifier: Apache-2.0
"""The rows about writing: into a bucket of radosgw, beside s3fs and rclone; into the journal, beside a native file."""
import os
import random
import socket
import subprocess
import threading
import time

import rows
import s3
import tools
from lab import MIB, drop_caches, wait_until

BLOCK = 4096
NAME = "warm.bin"


class Relay:
    """Stands before a server and counts the bytes that pass, which its log does not tell of requests."""

    def __init__(self, base):
        host, port = base.removeprefix("http://").split(":")
        self._to, self.up, self.down, self._lock = (host, int(port)), 0, 0, threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            here, _ = self._listener.accept()
            there = socket.create_connection(self._to)
            for a, b, name in ((here, there, "up"), (there, here, "down")):
                a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass, args=(a, b, name), daemon=True).start()

    def _pass(self, source, target, name):
        buf = memoryview(bytearray(1 << 20))
        try:
            while n := source.recv_into(buf):
                target.sendall(buf[:n])
                with self._lock:
                    setattr(self, name, getattr(self, name) + n)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            target.close()


class Behind(s3.Server):
    """radosgw behind such a relay."""

    def __init__(self, server):
        self.relay = Relay(server.base)
        self._at(self.relay.base)

    def moved(self):
        """Since the last call."""
        time.sleep(0.2)
        had = {"up_mib": self.relay.up / MIB, "down_mib": self.relay.down / MIB}
        self.relay.up = self.relay.down = 0
        return had


def server_of(context):
    return s3.radosgw(context.lab)


def counted(context):
    return context.lab.once("relay", lambda: Behind(server_of(context)))


def stored_bytes(context, key):
    """The object as another client gets it."""
    path = f"{context.lab.dir}/stored"
    server_of(context).client("get", f"s3://bucket/{key}", path)
    with open(path, "rb") as f:
        data = f.read()
    os.unlink(path)
    return data


def is_stored(context, key, want):
    try:
        return stored_bytes(context, key) == want
    except subprocess.CalledProcessError:
        return False


def measured(context, tool, server, work, key, options=None, counts=None):
    """work(path of @key) in a fresh mount, until it has returned and the bucket has what it returned; then the accounts."""
    mount = tools.open_mount(context.lab, tool, server, [], options=options)
    try:
        os.listdir(mount.points[0])
        drop_caches()
        if counts:
            counts()
        before, start = mount.usage(), time.monotonic()
        want = work(f"{mount.points[0]}/{key}")
        figures = {"seconds": time.monotonic() - start}
        # rclone's fsync returns when its own disk has the bytes: it is through when the bucket has them.
        if tool.startswith("rclone"):
            if not wait_until(lambda: is_stored(context, key, want), 120, 0.1):
                raise RuntimeError("the bucket never got it")
            figures["seconds"] = time.monotonic() - start
        elif not is_stored(context, key, want):
            raise RuntimeError("fsync has returned and the bucket does not have it")
        if counts:
            figures.update(counts())
        after = mount.usage()
        figures.update(daemon_cpu_s=after["cpu_s"] - before["cpu_s"], peak_mib=after["peak_mib"])
    finally:
        mount.close()
        remove(context, key)
    return figures


def remove(context, key):
    """The server's objects are in memory. One that was never stored is not there."""
    try:
        server_of(context).client("rm", f"s3://bucket/{key}")
    except subprocess.CalledProcessError:
        pass


def original(context):
    with open(context.lab.object(NAME), "rb") as f:
        return f.read()


def write_sequential(memory):
    return lambda context, tool: write_new(context, tool, memory)


def write_new(context, tool, memory):
    """All of a new file, 1 MiB at a time, and fsync. `memory`: vmofs's; its dirty limit is half of that."""
    server_of(context).bucket()
    data = original(context)
    options = f"memory={memory},journal-dir={context.lab.scratch()}" if tool.startswith("vmofs") else None

    def work(path):
        with open(path, "wb", buffering=0) as f:
            for off in range(0, len(data), MIB):
                f.write(data[off:off + MIB])
            os.fsync(f.fileno())
        return data
    figures = measured(context, tool, server_of(context), work, f"new-{memory}-{tool}-{context.seed}", options)
    figures["mib_s"] = len(data) / MIB / figures["seconds"]
    return figures


def change(where):
    """A small change of a large object, fsync and close. `where`: of its bytes -> (offset, bytes)."""
    def row(context, tool):
        # A key of its own: radosgw's posix backend refuses a plain PUT over an object that was made in parts.
        server, key = counted(context), f"{where.__name__}-{tool}-{context.seed}"
        server_of(context).bucket()
        server_of(context).client("put", context.lab.object(NAME), f"s3://bucket/{key}")
        data = original(context)
        off, new = where(random.Random(context.seed), data)

        def work(path):
            with open(path, "r+b", buffering=0) as f:
                f.seek(off)
                f.write(new)
                os.fsync(f.fileno())
            return data[:off] + new + data[off + len(new):]
        # radosgw's posix backend may list what has just been put with a size from nowhere: a HEAD tells it, as s3fs always asks.
        options = f"object-metadata,journal-dir={context.lab.scratch()}" if tool.startswith("vmofs") else None
        figures = measured(context, tool, server, work, key, options, counts=server.moved)
        figures["per_s"] = 1 / figures["seconds"]
        return figures
    return row


def inside(chooser, data):
    return chooser.randrange(1, len(data) // BLOCK - 1) * BLOCK, chooser.randbytes(BLOCK)


def at_end(chooser, data):
    return len(data), chooser.randbytes(MIB)


WRITES, PER_SYNC = 100000, 1000


def random_writes(context, tool):
    """4 KiB at random places of a file that is there, with an fsync after each thousand."""
    count = WRITES // 10 if context.lab.quick else WRITES
    pages = context.lab.mib(NAME) * MIB // BLOCK
    chooser = random.Random(context.seed)
    data = chooser.randbytes(BLOCK * 64)

    def work(path):
        fd = os.open(path, os.O_WRONLY)
        for i in range(count):
            at = i % 64 * BLOCK
            os.pwrite(fd, data[at:at + BLOCK], chooser.randrange(pages) * BLOCK)
            if i % PER_SYNC == PER_SYNC - 1:
                os.fsync(fd)
        os.close(fd)

    if tool == "native":
        path, mount = context.lab.native(NAME), None
    else:
        server_of(context).bucket()
        server_of(context).client("put", context.lab.object(NAME), "s3://bucket/random")
        mount = tools.open_mount(context.lab, tool, server_of(context), [],
                                 options=f"fsync=local,write-age=600s,journal-dir={context.lab.scratch()}")
        path = f"{mount.points[0]}/random"
    try:
        drop_caches()
        before, start = mount.usage() if mount else {}, time.monotonic()
        work(path)
        seconds = time.monotonic() - start
        after = mount.usage() if mount else {}
    finally:
        if mount:
            mount.close()
    figures = {"seconds": seconds, "iops": count / seconds}
    if mount:
        figures.update(daemon_cpu_s=after["cpu_s"] - before["cpu_s"], peak_mib=after["peak_mib"])
    return figures


WRITERS = ["vmofs-write", "rclone-write", "s3fs-write"]

rows.ROWS.update({
    "write-seq": rows.Row("1 GiB written and synced, radosgw", write_sequential("3G"), WRITERS, "mib_s", group="write",
                          objects=rows.WARM),
    "write-seq-512M": rows.Row("the same through half a GiB", write_sequential("1G"), WRITERS, "mib_s", group="write",
                               objects=rows.WARM),
    "overwrite-4k": rows.Row("4 KiB in 1 GiB, radosgw", change(inside), WRITERS, "per_s", group="write", objects=rows.WARM),
    "append-1m": rows.Row("1 MiB at the end of 1 GiB, radosgw", change(at_end), WRITERS, "per_s", group="write",
                          objects=rows.WARM),
    "rand-write-fsync": rows.Row("100,000 x 4 KiB at random in 1 GiB, fsync of each thousand", random_writes,
                                 ["native", "vmofs-write"], "iops", group="write", objects=rows.WARM),
})
