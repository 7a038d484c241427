# SPDX-License-Identifier: Apache-2.0
"""What machine this is, for a report: nothing that names it."""
import os
import re
import subprocess

from lab import read_text

VERSIONS = [  # program, how it is asked, where the version stands
    ("fio", ["fio", "--version"], r"fio-(\S+)"),
    ("nginx", ["nginx", "-v"], r"nginx/(\S+)"),
    ("curl", ["curl", "--version"], r"curl (\S+)"),
    ("nbdkit", ["nbdkit", "--version"], r"nbdkit (\S+)"),
    ("nbdfuse", ["nbdfuse", "--version"], r"nbdfuse (\S+)"),
    ("rclone", ["rclone", "version"], r"rclone v(\S+)"),
    ("s3fs", ["s3fs", "--version"], r"V?(\d+\.\d+)"),
    ("httpdirfs", ["httpdirfs", "--version"], r"version (\S+)"),
]


def version(argv, pattern):
    try:
        out = subprocess.run(argv, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(pattern, out.stdout + out.stderr)
    return found and found[1]


def mounted_at(path):
    """(device, type) of the file system that has this path."""
    best = ("", "", "")
    for line in read_text("/proc/self/mounts").splitlines():
        device, point, kind = line.split()[:3]
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best[0]):
            best = (point, device, kind)
    return best[1:]


def disk():
    device, kind = mounted_at("/var/tmp")
    name = re.sub(r"p?\d+$", "", os.path.basename(device))
    try:
        size = int(read_text(f"/sys/block/{name}/size")) * 512 / 1e9
        return f"{kind} on a disk of {size:.0f} GB ({'virtio' if name.startswith('vd') else name[:4]})"
    except OSError:
        return kind


def describe(program):
    cpu = re.search(r"^model name\s*: (.*)", read_text("/proc/cpuinfo"), re.M)
    memory = int(re.search(r"MemTotal: +(\d+)", read_text("/proc/meminfo"))[1]) / (1 << 20)
    release = re.search(r'^PRETTY_NAME="(.*)"', read_text("/etc/os-release"), re.M)
    hypervisor = "hypervisor" in read_text("/proc/cpuinfo")
    return {
        "CPU": f"{os.cpu_count()} x {cpu[1] if cpu else os.uname().machine}" + ", virtual" * hypervisor,
        "memory": f"{memory:.0f} GiB",
        "kernel": os.uname().release,
        "system": release[1] if release else "",
        "disk": disk(),
        "vmofs": version([program, "version"], r"(\d\S*)") or "",
        **{name: found for name, argv, pattern in VERSIONS if (found := version(argv, pattern))},
    }
