# SPDX-License-Identifier: Apache-2.0
"""The rows about trees: listing, many small files, buckets beside plain HTTP, a million keys."""
import subprocess
import time

import rows
import s3
import tools
from lab import drop_caches, enter, wait_until

S3 = ["vmofs-s3", *tools.S3_PEERS]


def run(command, point, **kwargs):
    """A shell command below a mountpoint: (seconds, output)."""
    start = time.monotonic()
    out = subprocess.run(["sh", "-c", command], cwd=point, capture_output=True, text=True, timeout=900, **kwargs)
    seconds = time.monotonic() - start
    if out.returncode:
        raise RuntimeError(f"{command}: {out.stderr[-200:].strip()}")
    return seconds, out.stdout


def listed(context, tool, server, command, expected, work=None):
    """A fresh mount, and one command in it that has to say how many names it saw."""
    server.asked()
    mount = tools.open_mount(context.lab, tool, server, [])
    try:
        drop_caches()
        before = mount.usage()
        seconds, out = run(command, mount.points[0])
        after = mount.usage()
        if int(out) != expected:
            raise RuntimeError(f"{out.strip()} instead of {expected} names")
    finally:
        mount.close()
    figures = {"seconds": seconds, "per_s": (work or expected) / seconds, "daemon_cpu_s": after["cpu_s"] - before["cpu_s"],
               "peak_mib": after["peak_mib"], "threads": after["threads"]}
    figures.update(server.asked())
    return figures


def filled(context):
    server = s3.radosgw(context.lab)
    server.fill(20000, 200)
    return server


def find_20000(context, tool):
    return listed(context, tool, filled(context), "find . -type f -printf x | wc -c", 20000)


def ls_20000(context, tool):
    return listed(context, tool, filled(context), "ls -lR | grep -c ' f[0-9]*$'", 20000)


FLAT = 100000


def serial_pages(server):
    """The pages one after another on one connection, as curl gets them. Their beginnings are known here."""
    base = f"{server.base}/bucket?list-type=2&delimiter=/"
    urls = [base] + [f"{base}&start-after=f{n - 1:08}" for n in range(1000, FLAT, 1000)]
    argv = tools.curl_command(server) + [word for url in urls for word in ("-o", "/dev/null", url)]
    server.asked()
    start = time.monotonic()
    subprocess.run(argv, check=True)
    seconds = time.monotonic() - start
    return {"seconds": seconds, "per_s": FLAT / seconds, **server.asked()}


PAGINATE = """
import sys, boto3, botocore.config
from botocore import UNSIGNED
client = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1",
                      config=botocore.config.Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}))
pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Delimiter="/")
print(sum(len(page.get("Contents", [])) for page in pages))
"""


def client_pages(server):
    """The pages one after another as boto3 gets and reads them, which is what awscli does. Its start is in the time."""
    server.asked()
    start = time.monotonic()
    out = subprocess.run(enter(server.client_netns) + ["/usr/bin/python3", "-c", PAGINATE, server.base], check=True,
                         capture_output=True, text=True).stdout
    seconds = time.monotonic() - start
    if int(out) != FLAT:
        raise RuntimeError(f"{out.strip()} instead of {FLAT} names")
    return {"seconds": seconds, "per_s": FLAT / seconds, **server.asked()}


def ls_far(context, tool):
    server = s3.computed(context.lab, FLAT, 0, far=True)
    if tool == "curl":
        return serial_pages(server)
    if tool == "boto3":
        return client_pages(server)
    return listed(context, tool, server, "ls -f | grep -c '^f'", FLAT)


def small(far, readers):
    """1,000 files of 4 KiB, read by cat; its time includes the listing of their directory."""
    def row(context, tool):
        server = s3.computed(context.lab, 1000, 1, far)
        command = f"find . -type f -print0 | xargs -0 -n {1000 // readers} -P {readers} cat | wc -c"
        return listed(context, tool, server, command, 1000 * 4096, 1000)
    return row


def million(context, tool):
    """RSS when the kernel knows every one of a million files, and when it has forgotten them."""
    server = s3.computed(context.lab, 1000000, 1000)
    server.asked()
    mount = tools.open_mount(context.lab, tool, server, [])
    try:
        drop_caches()
        seconds, out = run("find . -type f -printf x | wc -c", mount.points[0])
        if int(out) != 1000000:
            raise RuntimeError(f"{out.strip()} files")
        found = mount.usage()
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("2\n")
        wait_until(lambda: mount.usage()["rss_mib"] < 50, 20, 0.5)
        dropped = mount.usage()
    finally:
        mount.close()
    return {"seconds": seconds, "per_s": 1000000 / seconds, "peak_mib": found["peak_mib"], "found_mib": found["rss_mib"],
            "dropped_mib": dropped["rss_mib"], "daemon_cpu_s": found["cpu_s"], **server.asked()}


rows.ROWS.update({
    "find-20000": rows.Row("find, 20,000 keys in 200 prefixes, cold, radosgw", find_20000, S3, "per_s", group="trees"),
    "ls-lR": rows.Row("ls -lR, 20,000 keys in 200 prefixes, cold, radosgw", ls_20000, S3, "per_s", group="trees"),
    "ls-100000-20ms": rows.Row("20 ms RTT, ls -f of 100,000 keys in one directory", ls_far,
                       ["curl", "boto3", "vmofs-s3", "rclone-s3"], "per_s", group="trees"),
    "small-1": rows.Row("cat of 1,000 x 4 KiB, 1 reader", small(False, 1), S3, "per_s", group="trees"),
    "small-8": rows.Row("cat of 1,000 x 4 KiB, 8 readers", small(False, 8), S3, "per_s", group="trees"),
    "small-1-20ms": rows.Row("20 ms RTT, cat of 1,000 x 4 KiB, 1 reader", small(True, 1), S3, "per_s", group="trees"),
    "small-8-20ms": rows.Row("20 ms RTT, cat of 1,000 x 4 KiB, 8 readers", small(True, 8), S3, "per_s", group="trees"),
    "s3-seq-cold": rows.Row("bucket beside HTTP: cold, sequential 1 MiB", rows.cold_sequential, ["vmofs", *S3], "mib_s", group="trees"),
    "s3-rand1-cold": rows.Row("bucket beside HTTP: cold, random 4 KiB, 1 reader", rows.cold_random_1, ["vmofs", *S3], "iops", group="trees"),
    "s3-rand16-cold": rows.Row("bucket beside HTTP: cold, random 4 KiB, 16 readers", rows.cold_random_16, ["vmofs", *S3],
                       "iops", group="trees"),
    "s3-seq-warm": rows.Row("bucket beside HTTP: warm, sequential 1 MiB", rows.warm_sequential, ["vmofs", *S3], "mib_s", group="trees",
                         objects=rows.WARM),
    "s3-rand1-warm": rows.Row("bucket beside HTTP: warm, random 4 KiB, 1 reader", rows.warm_random, ["vmofs", *S3], "iops", group="trees",
                           objects=rows.WARM),
    "tree-1M": rows.Row("find over 1,000,000 keys", million, ["vmofs-s3"], "per_s", group="trees"),
})
