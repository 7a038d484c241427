# SPDX-License-Identifier: Apache-2.0
"""How each mount is started. A tool gets the same server and the same objects as every other.

All run in the foreground, as children, so that their CPU time and memory can be read from /proc.
"""
import json
import os
import shutil
import subprocess
import time

import s3
from lab import usage, wait_until, enter


class Unavailable(Exception):
    """The tool is not installed or cannot do this row; the text is the reason."""


class Mount:
    """A running mount, or several of one tool: paths to read, processes to account."""

    def __init__(self, lab):
        self.lab = lab
        self.points, self.processes, self.paths, self.scratch = [], [], [], []

    def point(self):
        self.points.append(self.lab.scratch())
        return self.points[-1]

    def cache(self):
        self.scratch.append(self.lab.scratch())
        return self.scratch[-1]

    def start(self, argv, netns, paths, env=None):
        self.processes.append(self.lab.start(argv, netns, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.DEVNULL, env=env))
        self.paths += paths

    def is_usable(self):
        """Now, at a first look: its file can be seen, or where none is named its root."""
        self._check()
        if self.paths:
            return self._usable(self.paths[0])
        return is_mounted(self.points[0]) and os.access(self.points[0], os.R_OK)

    def wait_usable(self, seconds=20):
        for point in self.points:
            if not wait_until(lambda: self._mounted(point), seconds):
                raise RuntimeError(f"{point} was not mounted")
        for path in self.paths:
            if not wait_until(lambda: self._usable(path), seconds):
                raise RuntimeError(f"{path} did not appear")

    def _mounted(self, point):
        self._check()
        return is_mounted(point) or any(p.startswith(point) and self._usable(p) for p in self.paths)

    def _check(self):
        if any(p.poll() is not None for p in self.processes):
            raise RuntimeError("the daemon ended: " + " ".join(self.processes[0].args))

    def _usable(self, path):
        self._check()
        try:
            return os.stat(path).st_size > 0
        except OSError:
            return False

    def usage(self):
        return usage([p.pid for p in self.processes])

    def close(self):
        for point in self.points:
            if is_mounted(point) and subprocess.run(["umount", point], stderr=subprocess.DEVNULL).returncode:
                time.sleep(1)
                subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            self.lab.stop(process)
        for directory in self.scratch:
            shutil.rmtree(directory, ignore_errors=True)
        for point in self.points:
            if not is_mounted(point):
                os.rmdir(point)


def is_mounted(point):
    """By the kernel's list: a mount whose daemon has died answers nothing itself."""
    return any(line.split()[4] == point for line in open("/proc/self/mountinfo"))


def need(program):
    path = shutil.which(program)
    if not path:
        raise Unavailable(f"{program} is not installed")
    return path


PROGRAM = {"vmofs": None}  # the one that is measured, where the command line named one


def vmofs_program():
    return PROGRAM["vmofs"] or need("vmofs")


def beside_vmofs(name):
    """A program of tests/tools that the build has put beside this vmofs."""
    path = f"{os.path.dirname(vmofs_program())}/tests/tools/{name}"
    if not os.access(path, os.X_OK):
        raise Unavailable(f"no {name} beside vmofs: build with the tests")
    return path


def vmofs_command(*words):
    """What a command of vmofs prints."""
    return subprocess.run([vmofs_program(), *words], check=True, capture_output=True, text=True, timeout=60).stdout


def vmofs_stat(mount):
    return json.loads(vmofs_command("stat", "--json", mount.points[0]))


def vmofs_options(mount, given, options):
    """The words for -o; CACHE becomes a directory that lives as long as the mount."""
    text = ",".join(word for word in (given, options) if word)
    if "CACHE" in text:
        text = text.replace("CACHE", mount.cache())
    return ["-o", text] if text else []


def vmofs(given=None):
    """vmofs with these options. Several names are one mount of the directory that has them."""
    def start(mount, server, names, mode, options=None):
        point = mount.point()
        source = server.url(names[0]) if len(names) == 1 else f"{server.base}/"
        mount.start([vmofs_program(), "mount", "-f", *vmofs_options(mount, given, options), source, point],
                    server.client_netns, [f"{point}/{name}" for name in names])
    return start


def mount_stub(mount, server, names, mode, options=None):
    """The daemon with a provider that answers from memory."""
    for name in names:
        point = mount.point()
        mount.start([beside_vmofs("stub_mount"), *vmofs_options(mount, None, options),
                     f"memory:{mount.lab.object(name)}", point], None, [f"{point}/{name}"])


def fuse_bare(*flags):
    """The least daemon that answers reads from memory: what FUSE itself costs."""
    def start(mount, server, names, mode, options=None):
        point = mount.point()
        mount.start([beside_vmofs("fuse_bare"), *flags, mount.lab.object(names[0]), point], None,
                    [f"{point}/{names[0]}"])
    return start


def mount_nbdfuse(mount, server, names, mode, options=None):
    need("nbdkit")
    for name in names:
        path = f"{mount.point()}/{name}"
        mount.start([need("nbdfuse"), "-C", "8", path, "[", "nbdkit", "--threads", "16", "curl",
                     f"url={server.url(name)}", "]"], server.client_netns, [path])


RCLONE = {
    "sequential": ["--buffer-size", "64M", "--vfs-read-ahead", "128M", "--vfs-read-chunk-size", "64M"],
    "random": ["--buffer-size", "0", "--vfs-read-ahead", "0", "--vfs-read-chunk-size", "128k"],
}


def mount_rclone(mount, server, names, mode, options=None):
    point = mount.point()
    mount.start([need("rclone"), "mount", f":http,url='{server.base}/':", point, "--read-only", "--config",
                 "/dev/null", "--vfs-cache-mode", "full", "--cache-dir", mount.cache(), "--dir-cache-time",
                 "1h", "--attr-timeout", "1h", *RCLONE[mode]], server.client_netns,
                [f"{point}/{name}" for name in names])


def mount_s3fs(mount, server, names, mode, options=None):
    point = mount.point()
    flags = (f"url={server.base},use_path_request_style,public_bucket=1,ro,parallel_count=16,multireq_max=64,"
             f"multipart_size=16,max_stat_cache_size=200000,kernel_cache,use_cache={mount.cache()}")
    mount.start([need("s3fs"), "bucket", point, "-f", "-o", flags], server.client_netns,
                [f"{point}/{name}" for name in names])


def mount_httpdirfs(mount, server, names, mode, options=None):
    point = mount.point()
    mount.start([need("httpdirfs"), "-f", "--max-conns", "16", "--cache", "--cache-location", mount.cache(),
                 "--no-range-check", "--dl-seg-size", "8", "-o", "kernel_cache", f"{server.base}/", point],
                server.client_netns, [f"{point}/{name}" for name in names])


# -- buckets: the whole of one, from a server of s3.py or from nginx ------------------------------

def mount_vmofs_s3(mount, server, names, mode, options=None):
    point = mount.point()
    mount.start([vmofs_program(), "mount", "-f", *vmofs_options(mount, None, options), "s3://bucket", point],
                server.client_netns, [f"{point}/{name}" for name in names], s3_environment(server))


def mount_rclone_s3(mount, server, names, mode, options=None):
    point = mount.point()
    remote = f":s3,provider=Other,env_auth=true,region=us-east-1,force_path_style=true,endpoint='{server.base}':bucket"
    mount.start([need("rclone"), "mount", remote, point, "--read-only", "--config", "/dev/null", "--vfs-cache-mode",
                 "full", "--cache-dir", mount.cache(), "--dir-cache-time", "1h", "--attr-timeout", "1h",
                 "--use-server-modtime", *RCLONE[mode]], server.client_netns,
                [f"{point}/{name}" for name in names], s3_environment(server))


def mount_s3fs_s3(mount, server, names, mode, options=None):
    point = mount.point()
    flags = (f"url={server.base},use_path_request_style,ro,parallel_count=16,multireq_max=64,multipart_size=16,"
             f"max_stat_cache_size=200000,kernel_cache,use_cache={mount.cache()}")
    mount.start([need("s3fs"), "bucket", point, "-f", "-o", flags], server.client_netns,
                [f"{point}/{name}" for name in names], s3_environment(server))


# -- buckets that are written ---------------------------------------------------------------------

def mount_vmofs_write(mount, server, names, mode, options=None):
    point = mount.point()
    text = options or f"journal-dir={mount.cache()}"
    mount.start([vmofs_program(), "mount", "-f", "-o", f"rw,{text}", "s3://bucket", point], server.client_netns, [],
                s3_environment(server))


def mount_rclone_write(mount, server, names, mode, options=None):
    point = mount.point()
    remote = f":s3,provider=Other,env_auth=true,region=us-east-1,force_path_style=true,endpoint='{server.base}':bucket"
    mount.start([need("rclone"), "mount", remote, point, "--config", "/dev/null", "--vfs-cache-mode", "full", "--vfs-write-back",
                 "0s", "--cache-dir", mount.cache(), "--use-server-modtime", *RCLONE["sequential"]], server.client_netns, [],
                s3_environment(server))


def mount_s3fs_write(mount, server, names, mode, options=None):
    point = mount.point()
    flags = (f"url={server.base},use_path_request_style,parallel_count=16,multireq_max=64,multipart_size=16,"
             f"max_stat_cache_size=200000,use_cache={mount.cache()}")
    mount.start([need("s3fs"), "bucket", point, "-f", "-o", flags], server.client_netns, [], s3_environment(server))


def s3_environment(server):
    return getattr(server, "env", None) or s3.environment(server.base)


MOUNTS = {
    "vmofs": vmofs(),
    "vmofs-uring": vmofs("io-uring=yes"),
    "vmofs-disk": vmofs("cache-dir=CACHE"),
    "vmofs-tier": vmofs("cache-dir=CACHE,passthrough=no,memory=64M"),
    "stub": mount_stub,
    "fuse-bare": fuse_bare(),
    "fuse-bare-uring": fuse_bare("-u"),
    "vmofs-s3": mount_vmofs_s3,
    "rclone-s3": mount_rclone_s3,
    "s3fs-s3": mount_s3fs_s3,
    "vmofs-write": mount_vmofs_write,
    "rclone-write": mount_rclone_write,
    "s3fs-write": mount_s3fs_write,
    "nbdfuse": mount_nbdfuse,
    "rclone": mount_rclone,
    "s3fs": mount_s3fs,
    "httpdirfs": mount_httpdirfs,
}
S3_PEERS = ["rclone-s3", "s3fs-s3"]
WRITE_PEERS = ["rclone-write", "s3fs-write"]
PEERS = ["nbdfuse", "rclone", "s3fs", "httpdirfs"]
DISK_PEERS = ["rclone", "s3fs", "httpdirfs"]
OURS = [name for name in MOUNTS if name.startswith("vmofs")]
ALL = [*OURS, "stub", "net", "fuse-bare", "fuse-bare-uring", "curl", "curl-parallel", "boto3", "native", "tmpfs", *PEERS,
       *S3_PEERS, *WRITE_PEERS]
SLOW = ["httpdirfs"]  # far behind in all but the disk rows, and minutes each time: run once


class Uring:
    """The kernel's switch for FUSE over io_uring: on while a mount that asks for it is made."""
    PATH = "/sys/module/fuse/parameters/enable_uring"

    def __init__(self, tool):
        self.wanted = tool.endswith("-uring")

    def __enter__(self):
        if self.wanted:
            try:
                with open(self.PATH) as f:
                    self.before = f.read()
                self._write("Y")
            except OSError as why:
                raise Unavailable(f"this kernel has no FUSE over io_uring: {why}") from why

    def __exit__(self, *_):
        if self.wanted:
            self._write(self.before)

    def _write(self, text):
        with open(self.PATH, "w") as f:
            f.write(text)


def open_mount(lab, tool, server, names, mode="sequential", options=None):
    mount = Mount(lab)
    try:
        with Uring(tool):
            MOUNTS[tool](mount, server, names, mode, options)
            mount.wait_usable()
    except BaseException:
        mount.close()
        raise
    return mount


def curl_command(server):
    return enter(server.client_netns) + [need("curl"), "-s", "-S", "-f"]
