# SPDX-License-Identifier: Apache-2.0
"""The rows about caches: in the daemon's memory, on disk, after a restart, after a crash, on a disk that fails."""
import os
import statistics
import subprocess
import tempfile
import time

import rows
import tools
from lab import MIB, TOP, drop_caches, wait_until
from rows import Row

NAME = "warm.bin"


def used(directory):
    """Bytes that the files below a directory have on disk."""
    total = 0
    for path, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.stat(f"{path}/{name}").st_blocks * 512
            except OSError:
                pass
    return total


# -- hot in the daemon, the kernel's cache not used -----------------------------------------------

def store_direct(context, tool):
    """All of a file is in the daemon's memory; 16 readers of 4 KiB with O_DIRECT."""
    ours = tool in tools.OURS
    mount = tools.open_mount(context.lab, tool, context.lab.near(), [NAME], "sequential", "memory=2G" if ours else None)
    try:
        drop_caches()
        if ours:  # a file that is read from end to end stays in the kernel's cache only
            tools.vmofs_command("prefetch", mount.paths[0])
        before = mount.usage()
        figures = rows.fio("random-direct", context.seconds, FILE=mount.paths[0], READERS=16, SEED=context.seed)
        figures["daemon_cpu_s"] = mount.usage()["cpu_s"] - before["cpu_s"]
        if ours and tools.vmofs_stat(mount)["misses"]:
            raise RuntimeError("not all of the file was in the daemon's memory")
        rows.verify(context.lab, mount.paths[0], NAME, context.seed)
    finally:
        mount.close()
    return figures


# -- read again from the disk cache ---------------------------------------------------------------

def is_passed_through(mount):
    """The daemon lends a file when it has read it back from the disk: until then it brings pages into the cache."""
    with open(mount.paths[0], "rb"):
        return tools.vmofs_stat(mount)["passthrough"]


def fill(context, tool):
    """A mount that has read all of the file once, with everything of it on disk."""
    mount = tools.open_mount(context.lab, tool, context.lab.near(), [NAME])
    try:
        rows.fio("sequential", 90, FILE=mount.paths[0], READ_SIZE="100%")
        size = context.lab.mib(NAME) * MIB
        if not wait_until(lambda: used(mount.scratch[0]) >= size, 20, 0.1):
            raise RuntimeError(f"only {used(mount.scratch[0]) // MIB} MiB came to the cache directory")
        if tool == "vmofs-disk" and not wait_until(lambda: is_passed_through(mount), 20, 0.1):
            raise RuntimeError("the kernel is not given the file itself")
        os.sync()
    except BaseException:
        mount.close()
        raise
    return mount


def cached_path(context, tool):
    if tool == "native":
        return context.lab.native(NAME)
    return context.lab.held(("filled", tool), lambda: fill(context, tool)).paths[0]


def from_disk(job, **variables):
    """The kernel's caches are dropped, then the file is opened anew and read."""
    def row(context, tool):
        path = cached_path(context, tool)
        drop_caches()
        figures = rows.fio(job, context.seconds, FILE=path, SEED=context.seed, **variables)
        figures["asked_mib"] += rows.verify(context.lab, path, NAME, context.seed)
        return figures
    return row


def passed_through(context, tool):
    """All of it in the page cache: 4 KiB at random."""
    path = cached_path(context, tool)
    rows.fio("sequential", 90, FILE=path, READ_SIZE="100%")
    figures = rows.fio("random", context.seconds, FILE=path, READERS=1, SEED=context.seed)
    rows.verify(context.lab, path, NAME, context.seed)
    return figures


def mount_again(context, tool):
    """The mount is ended and made again over the same cache: the first read of the file after it, and the second."""
    directory = tempfile.mkdtemp(dir=context.lab.disk)
    figures = {}
    for turn in ("fill", "first", "second"):
        mount = tools.open_mount(context.lab, "vmofs", context.lab.near(), [NAME], "sequential", f"cache-dir={directory}")
        try:
            drop_caches()
            had = rows.fio("sequential", 90, FILE=mount.paths[0], READ_SIZE="100%")
            rows.verify(context.lab, mount.paths[0], NAME, context.seed)
            if turn == "fill":
                wait_until(lambda: used(directory) >= context.lab.mib(NAME) * MIB, 20, 0.1)
                os.sync()
            else:
                figures[f"{turn}_mib_s"] = had["mib_s"]
        finally:
            mount.close()
    figures["mib_s"] = figures["first_mib_s"]
    return figures


# -- a restart with many objects ------------------------------------------------------------------

def restart(context, tool):
    """From exec to the first stat, and to the first 4 KiB out of the cache, in a mount whose cache has so many objects."""
    count = 5000 if context.lab.quick else 100000
    server, directory = context.lab.near(), tempfile.mkdtemp(dir=context.lab.disk)
    options = f"cache-dir={directory},passthrough=no"
    start = time.monotonic()
    subprocess.run([tools.beside_vmofs("cache_fill"), directory, str(count)], check=True, timeout=300)
    figures = {"fill_s": time.monotonic() - start, "objects": count}
    mount = tools.open_mount(context.lab, tool, server, ["one.bin"], options=options)
    try:
        rows.verify(context.lab, mount.paths[0], "one.bin", context.seed, 256)
        time.sleep(1)  # what is written behind
    finally:
        mount.close()
    server.sent()
    took = []
    for _ in range(5):
        took.append(start_and_read(context, tool, server, options))
    if server.sent()["body_mib"] > 0.5:
        raise RuntimeError("the object did not come out of the cache")
    figures["start_ms"], figures["usable_ms"] = (statistics.median(times) * 1000 for times in zip(*took))
    return figures


def start_and_read(context, tool, server, options):
    """Seconds until a stat succeeds, and until 4 KiB have been read."""
    drop_caches()
    start = time.monotonic()
    mount = tools.Mount(context.lab)
    tools.MOUNTS[tool](mount, server, ["one.bin"], "sequential", options)
    try:
        while not mount.is_usable():
            time.sleep(0.0005)
        usable = time.monotonic() - start
        with open(mount.paths[0], "rb", buffering=0) as f:
            f.read(rows.BLOCK)
        return usable, time.monotonic() - start
    finally:
        mount.close()


# -- crashes and bad disks: the test cases, which check every byte ---------------------------------

def case(name):
    """A case script of the tests: it passes or not."""
    def row(context, tool):
        path = f"{TOP}/tests/cases/cache/{name}.sh"
        program = tools.vmofs_program()
        folder = context.lab.scratch()
        env = dict(os.environ, VMOFS=program, BUILD_DIR=os.path.dirname(program), TEST_FLAVOUR="gcc", TEST_TMP=folder,
                   ROUNDS="20" if context.lab.quick else "200",
                   TEST_LIB=f"{TOP}/tests/lib", TEST_TOOLS=f"{os.path.dirname(program)}/tests/tools", VMOFS_SRC=TOP)
        start = time.monotonic()
        out = subprocess.run(["bash", path], env=env, capture_output=True, text=True, timeout=600)
        if out.returncode == 77:
            raise tools.Unavailable(out.stdout.strip().splitlines()[-1] if out.stdout.strip() else "skipped")
        if out.returncode:
            raise RuntimeError((out.stdout + out.stderr).strip()[-300:])
        return {"passed": 1, "seconds": time.monotonic() - start}
    return row


ONE = rows.WARM
DISK = ["native", "vmofs-disk", "vmofs-tier", *tools.DISK_PEERS]

rows.ROWS.update({
    "store-dio": Row("hot in the daemon, O_DIRECT random 4 KiB, 16 readers", store_direct,
                     ["fuse-bare", "vmofs", "fuse-bare-uring", "vmofs-uring"], "iops", group="must", objects=ONE),
    "disk-seq": Row("from the disk cache, sequential", from_disk("sequential", READ_SIZE="100%"), DISK, "mib_s",
                    group="must", objects=ONE, holds="disk"),
    "disk-rand1": Row("from the disk cache, random 4 KiB, 1 reader", from_disk("random", READERS=1), DISK, "iops",
                      group="must", objects=ONE, holds="disk"),
    "disk-rand16": Row("from the disk cache, random 4 KiB, 16 readers", from_disk("random", READERS=16), DISK, "iops",
                       objects=ONE, holds="disk"),
    "pass-rand": Row("cached, random 4 KiB, passthrough", passed_through, ["native", "vmofs-disk"], "iops", group="must",
                     objects=ONE, holds="disk"),
    "mount-again": Row("a second mount over the same cache", mount_again, ["vmofs"], "mib_s", objects=ONE),
    "restart-100000": Row("start over 100,000 cached objects", restart, ["vmofs"], "usable_ms", 1, group="must",
                          objects=("one.bin",)),
    "kill-9": Row("200 times kill -9 while it fills, then all is compared", case("kill-during-fill"), ["vmofs"],
                  "passed", 1, group="must", objects=()),
    "disk-full": Row("a cache on a full disk", case("full-disk"), ["vmofs"], "passed", 1, group="must", objects=()),
    "disk-fails": Row("a cache on a disk that fails", case("failing-disk"), ["vmofs"], "passed", 1, group="must",
                      objects=()),
})
