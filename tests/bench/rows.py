# SPDX-License-Identifier: Apache-2.0
"""The rows: each is a function (context, tool) -> figures. Names of figures carry their unit."""
import json
import os
import random
import signal
import statistics
import subprocess
import time
from typing import Callable, NamedTuple

import tools
from lab import MIB, PARTS, TOP, drop_caches, enter, status, wait_until

BLOCK = 4096


class Row(NamedTuple):
    """What is measured: by run(context, tool) for each of the tools, at most `most` times each."""
    title: str
    run: Callable
    tools: list
    figure: str           # the one that is compared
    most: int = 99
    group: str = "more"
    objects: tuple = ("big.bin",)
    core: tuple = ()      # the tools that a promise needs, where these are fewer than all
    holds: str = ""       # rows in a row with the same word share mounts that are made once


class Context:
    """What a row may use: the laboratory, how long to run, and a seed that differs from run to run."""

    def __init__(self, lab, seconds, seed):
        self.lab, self.seconds, self.seed = lab, seconds, seed


# -- fio and curl ---------------------------------------------------------------------------------

def fio(job, seconds, **variables):
    """Runs a job of conf/fio and returns its figures, all readers together."""
    env = dict(os.environ, RUNTIME=str(seconds), **{k: str(v) for k, v in variables.items()})
    argv = ["fio", "--readonly", "--output-format=json", f"{TOP}/conf/fio/{job}.fio"]
    out = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=seconds + 180)
    text = out.stdout[out.stdout.find("{"):]
    if out.returncode or not text:
        raise RuntimeError("fio: " + (out.stderr or out.stdout)[-300:].strip())
    whole = json.loads(text)["jobs"][0]
    if whole["error"]:
        raise RuntimeError("fio: " + os.strerror(whole["error"]))
    read = whole["read"]
    percentile = read["clat_ns"].get("percentile", {})
    return {
        "seconds": read["runtime"] / 1000,
        "mib_s": read["bw_bytes"] / MIB,
        "iops": read["iops"],
        "p50_us": percentile.get("50.000000", 0) / 1000,
        "p99_us": percentile.get("99.000000", 0) / 1000,
        "asked_mib": read["io_bytes"] / MIB,
    }


def logged_percentiles(path):
    with open(path) as f:
        times = sorted(int(line.split(",")[1]) for line in f)
    os.unlink(path)
    return {"p50_us": times[len(times) // 2] / 1000, "p99_us": times[len(times) * 99 // 100] / 1000}


def verify(lab, path, name, seed, places=64):
    """Compares some places with the origin's file; a mount that is fast and wrong has not won anything."""
    chooser = random.Random(seed)
    size = os.path.getsize(lab.object(name))
    with open(path, "rb", buffering=0) as got, open(lab.object(name), "rb", buffering=0) as want:
        os.posix_fadvise(got.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for _ in range(places):
            off = chooser.randrange(-(-size // BLOCK)) * BLOCK
            if os.pread(got.fileno(), BLOCK, off) != os.pread(want.fileno(), BLOCK, off):
                raise RuntimeError(f"wrong bytes at {off}")
    return places * BLOCK / MIB


def curl_sequential(server, names, limit=None):
    """One curl process for each list of names, which it reads from end to end."""
    drop_caches()
    argv = tools.curl_command(server) + ["-w", "%{size_download} "]
    argv += ["-r", f"0-{limit - 1}"] if limit else []
    urls = [[word for name in part for word in ("-o", "/dev/null", server.url(name))] for part in names]
    start = time.monotonic()
    runs = [subprocess.Popen(argv + part, stdout=subprocess.PIPE, text=True) for part in urls]
    size = sum(float(x) for run in runs for x in run.communicate()[0].split())
    seconds = time.monotonic() - start
    return {"seconds": seconds, "mib_s": size / MIB / seconds, "asked_mib": size / MIB}


def curl_random(context, server, readers):
    """`readers` curl processes, each with one connection and a list of 4 KiB ranges."""
    size = os.path.getsize(context.lab.object("big.bin"))
    count = context.seconds * (40 if server.client_netns else 5000 // max(1, readers // 2))
    commands = []
    for i in range(readers):
        path = f"{context.lab.dir}/curl{i}"
        chooser = random.Random(context.seed * 1000 + i)
        with open(path, "w") as f:
            for n in range(count):
                off = chooser.randrange(size // BLOCK) * BLOCK
                f.write(("next\n" if n else "") + f'url={server.url("big.bin")}\nrange={off}-{off + BLOCK - 1}\n'
                        'output=/dev/null\nwrite-out=%{time_total}\\n\n')
        commands.append(enter(server.client_netns) + ["curl", "-s", "-K", path])
    start = time.monotonic()
    runs = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for argv in commands]
    times = sorted(float(x) for run in runs for x in run.communicate()[0].split())
    seconds = time.monotonic() - start
    return {"seconds": seconds, "iops": len(times) / seconds, "p50_us": times[len(times) // 2] * 1e6,
            "p99_us": times[len(times) * 99 // 100] * 1e6, "asked_mib": len(times) * BLOCK / MIB,
            "mib_s": len(times) * BLOCK / MIB / seconds}


# -- through a mount ------------------------------------------------------------------------------

def cold(context, tool, server, names, mode, read, options=None):
    """A fresh mount, kernel caches dropped, `read(paths)`, a check of the bytes, then the accounts."""
    server.sent()
    mount = tools.open_mount(context.lab, tool, server, names, mode, options)
    try:
        drop_caches()
        before = mount.usage()
        figures = read(mount.paths)
        after = mount.usage()
        figures["daemon_cpu_s"] = after["cpu_s"] - before["cpu_s"]
        figures["peak_mib"] = after["peak_mib"]
        figures["threads"] = after["threads"]
        figures["cpu_s_per_gib"] = figures["daemon_cpu_s"] / (figures["asked_mib"] / 1024)
        figures["asked_mib"] += verify(context.lab, mount.paths[0], names[0], context.seed,
                                       16 if server.client_netns else 64)
    finally:
        mount.close()
    figures.update(server.sent())
    figures["wire_per_asked"] = figures["wire_mib"] / figures["asked_mib"]
    return figures


def sequential(context, tool, server, read_size="100%", limit=None):
    if tool == "curl":
        return curl_sequential(server, [["big.bin"]], limit)
    return cold(context, tool, server, ["big.bin"], "sequential",
                lambda paths: fio("sequential", 90, FILE=paths[0], READ_SIZE=read_size))


def randomly(context, tool, server, readers):
    if tool == "curl":
        return curl_random(context, server, readers)

    def read(paths):
        variables = {"FILE": paths[0], "READERS": readers, "SEED": context.seed}
        if not server.client_netns:
            return fio("random", context.seconds, **variables)
        log = f"{context.lab.dir}/latency"
        return fio("random-logged", context.seconds, LOG=log, **variables) | logged_percentiles(f"{log}_clat.log")
    return cold(context, tool, server, ["big.bin"], "random", read)


def cold_sequential(context, tool):
    return sequential(context, tool, context.lab.near())


def cold_random_1(context, tool):
    return randomly(context, tool, context.lab.near(), 1)


def cold_random_16(context, tool):
    return randomly(context, tool, context.lab.near(), 16)


def cold_many(context, tool):
    mib = context.lab.mib(PARTS[0])
    server = context.lab.near()
    if tool == "curl":
        return curl_sequential(server, [PARTS[i::4] for i in range(4)])

    def read(paths):
        lists = {f"FILES{i + 1}": ":".join(paths[i::4]) for i in range(4)}
        return fio("many-files", 90, FILE_SIZE=f"{mib}m", **lists)
    return cold(context, tool, server, PARTS, "sequential", read)


def far_random_1(context, tool):
    return randomly(context, tool, context.lab.far(), 1)


def far_random_16(context, tool):
    return randomly(context, tool, context.lab.far(), 16)


def far_sequential(context, tool):
    return sequential(context, tool, context.lab.far(), "256m", 256 * MIB)


def warm(context, tool, job, **variables):
    """Read once from end to end, then measured: what the kernel's cache and the mount leave of a file."""
    def read(paths):
        fio("sequential", 90, FILE=paths[0], READ_SIZE="100%")
        return fio(job, context.seconds, FILE=paths[0], **variables)
    if tool == "native":
        return read([context.lab.native("warm.bin")])
    if tool == "tmpfs":
        return read([context.lab.object("warm.bin")])
    return cold(context, tool, context.lab.near(), ["warm.bin"], "sequential", read)


def warm_sequential(context, tool):
    return warm(context, tool, "sequential-again")


def warm_random(context, tool):
    return warm(context, tool, "random", READERS=1, SEED=context.seed)


# -- vmofs' own promises --------------------------------------------------------------------------

def median_start(context, tool, server, names, times, options=None, at_end=None):
    """From exec to the first stat that succeeds, in ms."""
    took = []
    for i in range(times):
        start = time.monotonic()
        mount = tools.Mount(context.lab)
        tools.MOUNTS[tool](mount, server, names, "sequential", options)
        try:
            while not mount.is_usable():
                time.sleep(0.0005)
            took.append(time.monotonic() - start)
            if at_end and i == times - 1:
                at_end(mount)
        finally:
            mount.close()
    return statistics.median(took) * 1000


def start_time(context, tool):
    """The start, and the memory of a mount that nobody uses."""
    idle = {}

    def look(mount):
        time.sleep(1)
        idle.update(mount.usage())
    start_ms = median_start(context, tool, context.lab.near(), ["big.bin"], 10, at_end=look)
    return {"start_ms": start_ms, "idle_rss_mib": idle["rss_mib"]}


BUDGET_MIB = 256


def memory(context, tool):
    """Everything is read through a budget of 256 MiB, in order and at random by 16 readers."""
    def read(paths):
        figures = fio("sequential", 90, FILE=paths[0], READ_SIZE="100%")
        fio("random", context.seconds, FILE=paths[0], READERS=16, SEED=context.seed)
        return figures
    figures = cold(context, tool, context.lab.near(), ["big.bin"], "sequential", read,
                   options=f"memory={BUDGET_MIB}M")
    figures["above_budget_mib"] = figures["peak_mib"] - BUDGET_MIB
    return figures


def start_reads(context, path, count):
    argv = [f"{context.lab.tools}/many_reads", "-n", str(count), "-r", context.lab.object("big.bin"), path]
    return context.lab.start(argv, stdout=subprocess.PIPE, text=True)


def kernel_waiting(point):
    """How many requests of this mount the kernel has not got an answer for. Asks the mount nothing."""
    with open("/proc/self/mountinfo") as f:
        minor = next(line.split()[2].split(":")[1] for line in f if line.split()[4] == point)
    try:
        with open(f"/sys/fs/fuse/connections/{minor}/waiting") as f:
            return int(f.read())
    except OSError:
        return -1


def outstanding(context, tool):
    """10,000 reads while the server stands still; then it goes on and all must be answered."""
    server, count = context.lab.near(), 10000
    if not os.path.ismount("/sys/fs/fuse/connections"):
        subprocess.run(["mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections"], check=False)
    mount = tools.open_mount(context.lab, tool, server, ["big.bin"], "random")
    try:
        server.signal(signal.SIGSTOP)
        reads = start_reads(context, mount.paths[0], count)
        wait_until(lambda: status(reads.pid, "Threads") > count, 30, 0.05)
        time.sleep(2)
        waiting, used = kernel_waiting(mount.points[0]), mount.usage()
        server.signal(signal.SIGCONT)
        result = json.loads(reads.communicate(timeout=120)[0])
    finally:
        server.signal(signal.SIGCONT)
        mount.close()
    server.sent()
    return {"asked": count, "waiting": waiting, "answered": result["answered"], "wrong": result["wrong"],
            "error": result["error"], "threads": used["threads"], "rss_mib": used["rss_mib"],
            "seconds": result["last_s"]}


def interrupted(path):
    """How long a reader lives on after SIGINT while its read cannot be answered. (A shell's background
    job would inherit that SIGINT is ignored.)"""
    reader = subprocess.Popen(["dd", f"if={path}", "of=/dev/null", "bs=4k", "count=1", "skip=12345",
                               "iflag=direct"], stderr=subprocess.DEVNULL,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    time.sleep(1)
    start = time.monotonic()
    reader.send_signal(signal.SIGINT)
    try:
        reader.wait(20)
    except subprocess.TimeoutExpired:
        reader.kill()
    return time.monotonic() - start


def stop_server(context, tool, seconds, options):
    """64 reads, the server stopped for so long under them; one more reader is interrupted meanwhile."""
    server = context.lab.near()
    mount = tools.open_mount(context.lab, tool, server, ["big.bin"], "random", options)
    try:
        server.signal(signal.SIGSTOP)
        start = time.monotonic()
        reads = start_reads(context, mount.paths[0], 64)
        time.sleep(1)
        interrupt_s = interrupted(mount.paths[0])
        wait_until(lambda: reads.poll() is not None, seconds - (time.monotonic() - start), 0.1)
        server.signal(signal.SIGCONT)
        result = json.loads(reads.communicate(timeout=120)[0])
        again = json.loads(start_reads(context, mount.paths[0], 64).communicate(timeout=60)[0])
    finally:
        server.signal(signal.SIGCONT)
        mount.close()
    server.sent()
    return {"asked": 64, "answered": result["answered"], "wrong": result["wrong"], "error": result["error"],
            "seconds": result["last_s"], "interrupt_s": interrupt_s, "answered_after": again["answered"]}


def stopped(context, tool):
    """The deadline is longer than the 60 s stop: no read may be lost."""
    return stop_server(context, tool, 60, "timeout=120s" if tool == "vmofs" else None)


def deadline(context, tool):
    """The deadline of 10 s is shorter than the stop: every read fails in time, and the next ones succeed."""
    return stop_server(context, tool, 30, "timeout=10s" if tool == "vmofs" else None)


PEERS = tools.PEERS
WARM = ("warm.bin",)
ROWS = {
    "seq-cold": Row("cold, sequential 1 MiB", cold_sequential, ["curl", "vmofs", *PEERS], "mib_s", group="must",
                    core=("curl", "vmofs", "nbdfuse", "rclone", "s3fs")),
    "rand1-cold": Row("cold, random 4 KiB, 1 reader", cold_random_1, ["curl", "vmofs", *PEERS], "iops", group="must",
                      core=("vmofs", "nbdfuse")),
    "rand16-cold": Row("cold, random 4 KiB, 16 readers", cold_random_16, ["curl", "vmofs", *PEERS], "iops", group="must",
                      core=("vmofs", "nbdfuse")),
    "rand1-20ms": Row("20 ms RTT, random 4 KiB, 1 reader", far_random_1, ["curl", "vmofs", *PEERS], "iops", group="must",
                      core=("vmofs", "nbdfuse")),
    "rand16-20ms": Row("20 ms RTT, random 4 KiB, 16 readers", far_random_16, ["curl", "vmofs", *PEERS], "iops",
                       group="must", core=("vmofs", "nbdfuse")),
    "many-cold": Row("cold, many files, 4 readers, 1 MiB", cold_many, ["curl", "vmofs", *PEERS], "mib_s",
                     objects=tuple(PARTS)),
    "seq-warm": Row("warm, sequential 1 MiB", warm_sequential, ["native", "tmpfs", "vmofs", *PEERS], "mib_s",
                    objects=WARM),
    "rand1-warm": Row("warm, random 4 KiB, 1 reader", warm_random, ["native", "tmpfs", "vmofs", *PEERS], "iops",
                      objects=WARM),
    "seq-20ms": Row("20 ms RTT, 256 MiB sequential", far_sequential, ["curl", "vmofs", *PEERS], "mib_s"),
    "start": Row("start to usable, idle memory", start_time, ["vmofs", "nbdfuse"], "start_ms"),
    "memory": Row(f"4 GiB through a budget of {BUDGET_MIB} MiB", memory, ["vmofs"], "above_budget_mib"),
    "outstanding": Row("10,000 reads at once", outstanding, ["vmofs", "nbdfuse"], "answered", 1),
    "stopped": Row("server stopped for 60 s", stopped, ["vmofs", "nbdfuse"], "answered", 1),
    "deadline": Row("server stopped beyond a 10 s deadline", deadline, ["vmofs"], "seconds", 1),
}
