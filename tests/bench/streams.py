# SPDX-License-Identifier: Apache-2.0
"""The rows about orders of reading: several readers, strides, backwards, two streams; a far server; a slow part."""
import json
import subprocess
import time

import rows
import tools
from lab import FOUR, MIB, TOP, drop_caches
from rows import Row

FAST = [tool for tool in tools.PEERS if tool not in tools.SLOW]


def pattern(lab, paths, *words):
    """Runs tests/tools/read_pattern and returns its figures."""
    argv = [f"{lab.tools}/read_pattern", *words, *paths]
    out = subprocess.run(argv, capture_output=True, text=True, timeout=180)
    if out.returncode:
        raise RuntimeError(out.stderr.strip()[-200:])
    had = json.loads(out.stdout)
    return {"seconds": had["seconds"], "mib_s": had["bytes"] / MIB / had["seconds"], "asked_mib": had["bytes"] / MIB,
            "longest_ms": had["longest_ms"]}


def by_pattern(names, *words, mode="sequential"):
    """A row: these files, cold, in this order."""
    def row(context, tool):
        return rows.cold(context, tool, context.lab.near(), names, mode,
                         lambda paths: pattern(context.lab, paths, *words))
    return row


# -- several readers ------------------------------------------------------------------------------

def curl_ranges(server, name, size, parts):
    """One curl process that has so many ranges of an object at the same time."""
    step = -(-size // parts // MIB) * MIB
    argv = tools.curl_command(server) + ["--no-progress-meter", "--parallel", "--parallel-immediate",
                                          "--parallel-max", str(parts)]
    for i, off in enumerate(range(0, size, step)):
        argv += [*(["--next", "-S", "-f"] if i else []), "-r", f"{off}-{min(off + step, size) - 1}",
                 "-o", "/dev/null", server.url(name)]
    drop_caches()
    start = time.monotonic()
    subprocess.run(argv, check=True, timeout=300)
    seconds = time.monotonic() - start
    return {"seconds": seconds, "mib_s": size / MIB / seconds, "asked_mib": size / MIB, "ranges": parts}


def four_files(context, tool):
    if tool == "curl":
        return rows.curl_sequential(context.lab.near(), [[name] for name in FOUR])
    return by_pattern(FOUR, "-n", "4")(context, tool)


def four_of_one(share):
    def row(context, tool):
        if tool == "curl":
            return curl_ranges(context.lab.near(), "warm.bin", context.lab.mib("warm.bin") * MIB, 4)
        return by_pattern(["warm.bin"], "-n", "4", *(["-q"] if share else []))(context, tool)
    return row


# -- a far server ---------------------------------------------------------------------------------

RANGES = (1, 4, 8, 16, 32)


def curl_best(context, server, name, size):
    """By the best number of ranges: in the first run all are tried, after it the two that did best."""
    key = ("ranges", server.base, id(server), size)
    tried = context.lab.once(key, dict)
    candidates = sorted(tried, key=tried.get)[-2:] or [n for n in RANGES if n * MIB <= size]
    had = [curl_ranges(server, name, size, n) for n in candidates]
    for figures in had:
        tried.setdefault(figures["ranges"], figures["mib_s"])
    best = max(had, key=lambda figures: figures["mib_s"])
    return best | {"by_ranges": {n: round(speed) for n, speed in tried.items()}}


def far_sequential(server_of, mib):
    """The first so many MiB from end to end, by a mount and by `curl --parallel`."""
    def row(context, tool):
        server, size = server_of(context.lab), min(mib, context.lab.mib("big.bin")) * MIB
        if tool == "curl-parallel":
            return curl_best(context, server, "big.bin", size)
        return rows.cold(context, tool, server, ["big.bin"], "sequential",
                         lambda paths: rows.fio("sequential", 120, FILE=paths[0], READ_SIZE=size))
    return row


def at(rtt_ms, mbit=0, loss=0):
    return lambda lab: lab.far(rtt_ms, mbit, loss)


# -- one slow part --------------------------------------------------------------------------------

STALL_S = 5


class StallServer:
    """The server of stall_server.py, with what a mount needs of a server."""
    client_netns = None

    def __init__(self, lab, name):
        self.name = name
        self.process = lab.start(["python3", f"{TOP}/tests/bench/stall_server.py", lab.object(name)],
                                 stdout=subprocess.PIPE, text=True)
        self.base = f"http://127.0.0.1:{self.process.stdout.readline().strip()}"
        self.size = lab.mib(name) * MIB

    def url(self, name):
        return f"{self.base}/{name}"

    def arm(self):
        url = f"{self.base}/_stall?at={self.size // 16 * 7}&for={STALL_S}"
        subprocess.run(["curl", "-sf", url], check=True)


def slow_part(context, tool):
    """One file twice, each time cold: with the part that covers 7/16 of it standing still for 5 s, and without."""
    server = context.lab.once("stalling", lambda: StallServer(context.lab, "warm.bin"))
    seconds = {}
    for stalls in (False, True):
        mount = tools.open_mount(context.lab, tool, server, ["warm.bin"])
        try:
            drop_caches()
            if stalls:
                server.arm()
            figures = pattern(context.lab, mount.paths)
            seconds[stalls] = figures["seconds"]
            if stalls:
                rows.verify(context.lab, mount.paths[0], "warm.bin", context.seed)
        finally:
            mount.close()
    return figures | {"without_s": seconds[False], "later_s": seconds[True] - seconds[False]}


FOUR_TOOLS = ["curl", "vmofs", *tools.PEERS]
FOUR_CORE = ("vmofs", *FAST)
ORDER_TOOLS = ["vmofs", *tools.PEERS]
ONE = rows.WARM
FAR = ["curl-parallel", "vmofs"]

rows.ROWS.update({
    "four-files": Row("4 readers of 4 files", four_files, FOUR_TOOLS, "mib_s", group="must", objects=tuple(FOUR),
                      core=FOUR_CORE),
    "four-one": Row("4 readers of one file, each all of it", four_of_one(False), ORDER_TOOLS, "mib_s", group="must",
                    objects=ONE, core=FOUR_CORE),
    "four-shares": Row("4 readers of one file, a quarter each", four_of_one(True), FOUR_TOOLS, "mib_s", group="must",
                       objects=ONE, core=FOUR_CORE),
    "par-20ms": Row("20 ms RTT, 1 GiB sequential", far_sequential(at(20), 1024), FAR, "mib_s", group="must"),
    "par-80ms": Row("80 ms RTT, 1 GiB sequential", far_sequential(at(80), 1024), FAR, "mib_s", group="must"),
    "par-20ms-256M": Row("20 ms RTT, 256 MiB sequential, parallel", far_sequential(at(20), 256), FAR, "mib_s", group="must"),
    "par-80ms-256M": Row("80 ms RTT, 256 MiB sequential, parallel", far_sequential(at(80), 256), FAR, "mib_s", group="must"),
    "strided": Row("64 KiB of every MiB", by_pattern(["big.bin"], "-p", "strided", "-b", "64k", "-s", "1m", mode="random"),
                   ORDER_TOOLS, "mib_s", group="must", core=("vmofs", *FAST)),
    "backwards": Row("backwards, 256 KiB at a time", by_pattern(["warm.bin"], "-p", "backward", "-b", "256k", "-l", "512m"),
                     ORDER_TOOLS, "mib_s", group="must", objects=ONE, core=("vmofs", "nbdfuse", "s3fs")),
    "two-streams": Row("two streams through one handle, 256 KiB", by_pattern(["warm.bin"], "-p", "two", "-b", "256k",
                                                                             "-l", "512m"),
                       ORDER_TOOLS, "mib_s", group="must", objects=ONE, core=("vmofs", *FAST)),
    "slow-part": Row("one part stands still for 5 s", slow_part, ["vmofs", "nbdfuse"], "later_s", group="must",
                     objects=ONE, core=("vmofs",)),
})
