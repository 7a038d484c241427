# SPDX-License-Identifier: Apache-2.0
"""What vmofs promises, as ratios of figures of one run: what, the figure, its target, whether it holds."""
import tools

AT_LEAST, AT_MOST = ">=", "<="


class Figures:
    """The medians, {(row, tool): {figure: value}}, and ratios of them; None where a part is missing."""

    def __init__(self, medians):
        self.medians = medians

    def have(self, row, name, tool="vmofs"):
        return self.medians.get((row, tool), {}).get(name)

    def of(self, row, name, other, tool="vmofs"):
        return divide(self.have(row, name, tool), self.have(row, name, other))

    def best(self, row, name, least=False):
        """(figure, tool) of the best peer."""
        had = [(value, tool) for tool in [*tools.PEERS, *tools.S3_PEERS, *tools.WRITE_PEERS] if (value := self.have(row, name, tool)) is not None]
        return (min if least else max)(had, default=(None, None))

    def of_best(self, row, name, tool="vmofs", least=False):
        return divide(self.have(row, name, tool), self.best(row, name, least)[0])


def divide(a, b):
    return a / b if a is not None and b else None


def near(f):
    yield "cold sequential 4 GiB, of the best peer", f.of_best("seq-cold", "mib_s"), AT_LEAST, 2
    yield "cold sequential 4 GiB, of curl", f.of("seq-cold", "mib_s", "curl"), AT_LEAST, 0.85
    yield "CPU a GiB, cold sequential, of the best peer", f.of_best("seq-cold", "cpu_s_per_gib", least=True), AT_MOST, 0.7
    for row, what in (("four-files", "4 files"), ("four-one", "one file, each all of it"),
                      ("four-shares", "one file, a quarter each")):
        yield f"4 readers of {what}, of the best peer", f.of_best(row, "mib_s"), AT_LEAST, 1.8
    for row, what in (("strided", "64 KiB of every MiB"), ("backwards", "backwards"), ("two-streams", "two streams")):
        yield f"{what}, of the best peer", f.of_best(row, "mib_s"), AT_LEAST, 2
        yield "the same, bytes on the wire of those asked", f.have(row, "wire_per_asked"), AT_MOST, 1.3


def far(f):
    for rtt in (20, 80):
        for size, row in (("1 GiB", f"par-{rtt}ms"), ("256 MiB", f"par-{rtt}ms-256M")):
            yield f"{rtt} ms RTT, {size} sequential, of curl --parallel", f.of(row, "mib_s", "curl-parallel"), AT_LEAST, 0.9
    yield "one part of 16 stands still for 5 s: later by, s", f.have("slow-part", "later_s"), AT_MOST, 1


def randomly(f):
    for row, what in (("cold", "0 ms"), ("20ms", "20 ms")):
        for readers, target in ((1, 1.5), (16, 4)):
            name = f"rand{readers}-{row}"
            yield f"random 4 KiB, {what}, {readers} reader(s), of nbdfuse", f.of(name, "iops", "nbdfuse"), AT_LEAST, target
            yield "the same, p99 of p50", divide(f.have(name, "p99_us"), f.have(name, "p50_us")), AT_MOST, 3


def caches(f):
    yield "hot in the daemon, O_DIRECT, of the bare daemon", f.of("store-dio", "iops", "fuse-bare"), AT_LEAST, 0.9
    yield "the same by io_uring", f.of("store-dio", "iops", "fuse-bare-uring", "vmofs-uring"), AT_LEAST, 0.9
    for row, what, name in (("disk-seq", "sequential", "mib_s"), ("disk-rand1", "random 4 KiB", "iops")):
        yield f"from the disk cache, {what}, of a native file", f.of(row, name, "native", "vmofs-disk"), AT_LEAST, 0.9
        yield "the same, of the best peer", f.of_best(row, name, "vmofs-disk"), AT_LEAST, 3
    yield "cached random 4 KiB by passthrough, of a native file", f.of("pass-rand", "iops", "native", "vmofs-disk"), AT_LEAST, 0.9
    yield "start over 100,000 cached objects to the first bytes read, ms", f.have("restart-100000", "usable_ms"), AT_MOST, 200
    yield "kill -9 while it fills, 200 times: no wrong byte", f.have("kill-9", "passed"), AT_LEAST, 1
    yield "cache on a full disk: no reader sees an error", f.have("disk-full", "passed"), AT_LEAST, 1
    yield "cache on a disk that fails: no reader sees an error", f.have("disk-fails", "passed"), AT_LEAST, 1


def mounts(f):
    """Of one object, from before there was a disk cache."""
    for row in ("rand1-cold", "rand16-cold"):
        yield f"{row}: bytes on the wire of those asked", f.have(row, "wire_per_asked"), AT_MOST, 1.1
    yield "warm sequential, of a file in tmpfs", f.of("seq-warm", "mib_s", "tmpfs"), AT_LEAST, 0.95
    yield "warm random, of a native file", f.of("rand1-warm", "iops", "native"), AT_LEAST, 0.95
    p50 = f.have("rand1-20ms", "p50_us")
    yield "20 ms RTT: random 4 KiB, p50, ms", p50 and p50 / 1000, AT_MOST, 21.5
    yield "20 ms RTT: 16 readers of 1", divide(f.have("rand16-20ms", "iops"), f.have("rand1-20ms", "iops")), AT_LEAST, 14
    yield "20 ms RTT: 256 MiB sequential, of the best peer", f.of_best("seq-20ms", "mib_s"), AT_LEAST, 0.8
    yield "peak RSS above the budget, MiB", f.have("memory", "above_budget_mib"), AT_MOST, 24
    yield "idle RSS, MiB", f.have("start", "idle_rss_mib"), AT_MOST, 12
    yield "start to usable, ms", f.have("start", "start_ms"), AT_MOST, 50
    yield "10,000 outstanding: answered", f.have("outstanding", "answered"), AT_LEAST, 10000
    yield "10,000 outstanding: threads", f.have("outstanding", "threads"), AT_MOST, 16
    yield "server stopped 60 s: answered of 64", f.have("stopped", "answered"), AT_LEAST, 64
    yield "the same, seconds until a reader ends on SIGINT", f.have("stopped", "interrupt_s"), AT_MOST, 1
    yield "deadline 10 s: seconds until the last read has failed", f.have("deadline", "seconds"), AT_MOST, 12
    yield "the same, answered afterwards of 64", f.have("deadline", "answered_after"), AT_LEAST, 64


def trees(f):
    for row in ("find-20000", "ls-lR"):
        yield f"{row}, of rclone", f.of(row, "per_s", "rclone-s3", "vmofs-s3"), AT_LEAST, 3
        yield "the same, of s3fs", f.of(row, "per_s", "s3fs-s3", "vmofs-s3"), AT_LEAST, 10
        yield "the same, requests", f.have(row, "requests", "vmofs-s3"), AT_MOST, 220
    yield "20 ms RTT: 100,000 names, of serial pages by boto3", f.of("ls-100000-20ms", "per_s", "boto3", "vmofs-s3"), AT_LEAST, 5
    yield "the same, by curl, which reads nothing of them", f.of("ls-100000-20ms", "per_s", "curl", "vmofs-s3"), AT_LEAST, 5
    for row in ("small-1", "small-8", "small-1-20ms", "small-8-20ms"):
        yield f"{row}: 1,000 small files, of the best peer", f.of_best(row, "per_s", "vmofs-s3"), AT_LEAST, 2
    for row, name in (("s3-seq-cold", "mib_s"), ("s3-rand1-cold", "iops"), ("s3-rand16-cold", "iops"),
                      ("s3-seq-warm", "mib_s"), ("s3-rand1-warm", "iops")):
        yield f"{row}: a bucket, of plain HTTP", f.of(row, name, "vmofs", "vmofs-s3"), AT_LEAST, 0.9
    yield "1,000,000 keys: RSS after find, MiB", f.have("tree-1M", "found_mib", "vmofs-s3"), AT_MOST, 200
    yield "the same, after the kernel forgot them", f.have("tree-1M", "dropped_mib", "vmofs-s3"), AT_MOST, 60


def writing(f):
    yield "1 GiB written and synced, of the best peer", f.of_best("write-seq", "mib_s", "vmofs-write"), AT_LEAST, 1.2
    yield "the same, of which half a GiB may be dirty", f.of_best("write-seq-512M", "mib_s", "vmofs-write"), AT_LEAST, 1.2
    yield "4 KiB in 1 GiB: MiB up", f.have("overwrite-4k", "up_mib", "vmofs-write"), AT_MOST, 5.1
    yield "the same, MiB down", f.have("overwrite-4k", "down_mib", "vmofs-write"), AT_MOST, 0.1
    yield "the same, seconds, of s3fs", f.of("overwrite-4k", "seconds", "s3fs-write", "vmofs-write"), AT_MOST, 1
    yield "1 MiB at the end of 1 GiB: MiB moved", total(f, "append-1m"), AT_MOST, 6.1
    yield "100,000 random 4 KiB writes, of a native file", f.of("rand-write-fsync", "iops", "native", "vmofs-write"), AT_LEAST, 0.5


def total(f, row):
    up, down = (f.have(row, name, "vmofs-write") for name in ("up_mib", "down_mib"))
    return None if up is None or down is None else up + down


SECTIONS = [("Close to the limit", [near, far, randomly, caches]), ("One object", [mounts]), ("Trees", [trees]), ("Writing", [writing])]


def holds(value, test, target):
    return value >= target if test == AT_LEAST else value <= target


def tables(medians, missing):
    """One table a section. `missing`: also what was not measured, where the section was measured at all."""
    figures, lines = Figures(medians), []
    for title, parts in SECTIONS:
        checks = [check for part in parts for check in part(figures)]
        if not any(value is not None for _, value, _, _ in checks):
            continue
        lines += [f"### {title}", "", "| what | target | measured | holds |", "|---|---|---|---|"]
        for what, value, test, target in checks:
            if value is not None:
                lines.append(f"| {what} | {test} {target} | {value:.2f} | {'yes' if holds(value, test, target) else '**no**'} |")
            elif missing and title == SECTIONS[0][0]:
                lines.append(f"| {what} | {test} {target} | - | not measured |")
        lines.append("")
    return lines
