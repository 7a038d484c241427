# SPDX-License-Identifier: Apache-2.0
"""What changes with the distance, the rate, losses, the size of an object and the number of readers; the stub modes,
which leave out the network or FUSE; and the jobs of mountpoint-s3's own benchmark."""
import os
import re
import subprocess
import time

import rows
import streams
import tools
from lab import FIVE, FOUR, MIB, drop_caches
from rows import Row
from streams import at, far_sequential, pattern

# -- round trips, rates, losses -------------------------------------------------------------------

RTTS = (0, 1, 20, 80, 200)
LINKS = {  # name: (how it is, server, MiB)
    "100mbit": ("100 Mbit/s, 20 ms RTT", at(20, mbit=100), 64),
    "1gbit": ("1 Gbit/s, 20 ms RTT", at(20, mbit=1000), 512),
    "loss": ("1 % loss, 20 ms RTT", at(20, loss=1), 16),
}


def far_random(server_of, readers):
    return lambda context, tool: rows.randomly(context, tool, server_of(context.lab), readers)


def far_rows():
    for rtt in RTTS:
        title = f"{rtt} ms RTT"
        yield f"rtt-{rtt}-seq", Row(f"{title}, 256 MiB sequential", far_sequential(at(rtt), 256), streams.FAR, "mib_s",
                                    group="sweep")
        for readers in (1, 16):
            yield f"rtt-{rtt}-rand{readers}", Row(f"{title}, random 4 KiB, {readers} readers", far_random(at(rtt), readers),
                                                  ["vmofs", "nbdfuse"], "iops", group="sweep")
    for name, (title, server_of, mib) in LINKS.items():
        yield f"{name}-seq", Row(f"{title}, {mib} MiB sequential", far_sequential(server_of, mib),
                                 streams.FAR, "mib_s", group="sweep")
        yield f"{name}-rand16", Row(f"{title}, random 4 KiB, 16 readers", far_random(server_of, 16), ["vmofs", "nbdfuse"],
                                    "iops", group="sweep")


# -- sizes ----------------------------------------------------------------------------------------

SIZES = {"4K": 1 << 12, "64K": 1 << 16, "1M": 1 << 20, "16M": 1 << 24, "256M": 1 << 28, "4G": 1 << 32, "64G": 1 << 36}


def by_size(size):
    """A sparse object: its first byte, its last, and as much as 1 GiB of it from the beginning."""
    def row(context, tool):
        server, name = context.lab.near(), context.lab.sparse(size)
        server.sent()
        mount = tools.open_mount(context.lab, tool, server, [name])
        try:
            drop_caches()
            start = time.monotonic()
            with open(mount.paths[0], "rb", buffering=0) as f:
                f.read(1)
                first = time.monotonic() - start
                start = time.monotonic()
                if os.pread(f.fileno(), 1, size - 1) != b"\0":
                    raise RuntimeError("wrong last byte")
                last = time.monotonic() - start
            figures = pattern(context.lab, mount.paths, "-l", "1g", "-b", str(min(size, MIB)))
            figures["peak_mib"] = mount.usage()["peak_mib"]
        finally:
            mount.close()
        return figures | server.sent() | {"first_ms": first * 1000, "last_ms": last * 1000}
    return row


# -- readers --------------------------------------------------------------------------------------

def by_readers(count):
    """So many readers, each its share of 1 GiB; then as many at random."""
    return streams.by_pattern(["warm.bin"], "-n", str(count), "-q", "-b", "256k")


def at_random(count):
    return lambda context, tool: rows.randomly(context, tool, context.lab.near(), count)


def mapped(*words):
    return streams.by_pattern(["warm.bin"], "-m", *words)


# -- stub modes -----------------------------------------------------------------------------------

def stub_sequential(context, tool):
    """`stub`: the provider answers from memory. `net`: the provider alone, nothing mounted."""
    if tool == "net":
        return provider_alone(context, "-s", "-b", str(8 * MIB), "-q", "8")
    if tool == "curl":
        return rows.curl_sequential(context.lab.near(), [["big.bin"]])
    return rows.cold(context, tool, context.lab.near(), ["big.bin"], "sequential",
                     lambda paths: rows.fio("sequential", 90, FILE=paths[0], READ_SIZE="100%"))


def stub_random(readers):
    def row(context, tool):
        if tool == "net":
            return provider_alone(context, "-b", "4096", "-q", str(readers))
        return rows.randomly(context, tool, context.lab.near(), readers)
    return row


def provider_alone(context, *words):
    program = tools.beside_vmofs("net_bench")
    argv = [program, "-t", str(context.seconds), "-l", "1", *words, context.lab.near().url("big.bin")]
    drop_caches()
    out = subprocess.run(argv, capture_output=True, text=True, timeout=context.seconds + 60)
    had = re.search(r"([\d.]+) reads/s +([\d.]+) MiB/s +p50 ([\d.]+) us +p99 ([\d.]+) us.* ([\d.]+) s/GiB", out.stdout)
    if out.returncode or not had:
        raise RuntimeError("net_bench: " + (out.stderr or out.stdout).strip()[-200:])
    iops, mib_s, p50, p99, cpu = map(float, had.groups())
    return {"iops": iops, "mib_s": mib_s, "p50_us": p50, "p99_us": p99, "cpu_s_per_gib": cpu}


# -- mountpoint-s3's jobs -------------------------------------------------------------------------

def linked(lab, paths):
    """A directory with links to these files, which may lie in several mounts."""
    folder = lab.scratch()
    for path in paths:
        os.symlink(path, f"{folder}/{os.path.basename(path)}")
    return folder


def mountpoint(rw, readers=1, direct=0, names=FOUR, block="256k"):
    """One of its read jobs; each thread has a file of its own."""
    names = list(names[:readers])

    def row(context, tool):
        def read(paths):
            return rows.fio("mountpoint-read", context.seconds, DIR=linked(context.lab, paths), RW=rw, BLOCK=block,
                            FORMAT=names[0].replace("0", "$jobnum"), READERS=readers, DIRECT=direct)
        return rows.cold(context, tool, context.lab.near(), names, "random" if rw == "randread" else "sequential", read)
    return row


def first_byte(name):
    def row(context, tool):
        return rows.cold(context, tool, context.lab.near(), [name], "random",
                         lambda paths: rows.fio("mountpoint-first-byte", 30, FILE=paths[0]) | {"asked_mib": rows.BLOCK / MIB})
    return row


def mountpoint_rows():
    fio_tools = ["vmofs", *[tool for tool in tools.PEERS if tool not in tools.SLOW]]
    for rw, word in (("read", "seq"), ("randread", "rand")):
        for small in (False, True):
            for readers in (1, 4):
                for direct in (0, 1):
                    name = f"mp-{word}{'-4t' * (readers > 1)}{'-direct' * direct}{'-small' * small}"
                    title = (f"mountpoint-s3: {rw} 256 KiB, {readers} thread(s)" + ", O_DIRECT" * direct +
                             ", 5 MiB files" * small)
                    names = tuple((FIVE if small else FOUR)[:readers])
                    yield name, Row(title, mountpoint(rw, readers, direct, names), fio_tools, "mib_s", group="fio",
                                    objects=names)
    yield "mp-seq-skip", Row("mountpoint-s3: 256 MiB, then 17 MiB left out",
                             mountpoint("read:17m", names=("big.bin",), block="256m"), fio_tools, "mib_s", group="fio")
    yield "mp-ttfb", Row("mountpoint-s3: time to first byte, 1 GiB; p99 is the first", first_byte("warm.bin"), fio_tools,
                         "p99_us", group="fio", objects=rows.WARM)
    yield "mp-ttfb-small", Row("mountpoint-s3: time to first byte, small file; p99 is the first", first_byte("one.bin"),
                               fio_tools, "p99_us", group="fio", objects=("one.bin",))


READERS = (1, 2, 4, 8, 16, 32, 64)
MOUNTS = ["vmofs", "nbdfuse", "rclone", "s3fs"]

rows.ROWS.update({
    **dict(far_rows()),
    **{f"size-{name}": Row(f"an object of {name}", by_size(size), ["vmofs", "nbdfuse"], "mib_s", group="sweep", objects=())
       for name, size in SIZES.items()},
    **{f"readers-{n}": Row(f"{n} readers, each its share of 1 GiB", by_readers(n), ["vmofs", "nbdfuse"], "mib_s",
                           group="sweep", objects=rows.WARM) for n in READERS},
    **{f"readers-{n}-rand": Row(f"{n} readers, random 4 KiB", at_random(n), ["vmofs", "nbdfuse"], "iops", group="sweep")
       for n in READERS},
    "mmap-seq": Row("through a mapping, sequential", mapped(), MOUNTS, "mib_s", group="sweep", objects=rows.WARM),
    "mmap-4": Row("through a mapping, 4 readers, a quarter each", mapped("-n", "4", "-q"), MOUNTS, "mib_s", group="sweep",
                  objects=rows.WARM),
    "mmap-backwards": Row("through a mapping, backwards", mapped("-p", "backward", "-b", "64k", "-l", "256m"), MOUNTS,
                          "mib_s", group="sweep", objects=rows.WARM),
    "mmap-strided": Row("through a mapping, 64 KiB of every MiB", mapped("-p", "strided", "-b", "64k", "-s", "1m"), MOUNTS,
                        "mib_s", group="sweep", objects=rows.WARM),
    "stub-seq": Row("what costs how much: sequential 1 MiB", stub_sequential, ["curl", "net", "stub", "vmofs"], "mib_s",
                    group="stub"),
    "stub-rand1": Row("what costs how much: random 4 KiB, 1 reader", stub_random(1), ["net", "stub", "vmofs"], "iops",
                      group="stub"),
    "stub-rand16": Row("what costs how much: random 4 KiB, 16 readers", stub_random(16), ["net", "stub", "vmofs"], "iops",
                       group="stub"),
    **dict(mountpoint_rows()),
})
