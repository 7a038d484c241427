# SPDX-License-Identifier: Apache-2.0
"""How each mount is started. A tool gets the same server and the same objects as every other.

All run in the foreground, as children, so that their CPU time and memory can be read from /proc.
"""
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


def mount_vmofs(mount, server, names, mode, options=None):
    """One daemon per object, as the program does today."""
    program = os.environ.get("VMOFS") or need("vmofs")
    for name in names:
        point = mount.point()
        extra = ["-o", options] if options else []
        mount.start([program, "mount", "-f", *extra, server.url(name), point], server.client_netns,
                    [f"{point}/{name}"])


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
    extra = ["-o", options] if options else []
    mount.start([os.environ.get("VMOFS") or need("vmofs"), "mount", "-f", *extra, "s3://bucket", point],
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


def s3_environment(server):
    return getattr(server, "env", None) or s3.environment(server.base)


MOUNTS = {
    "vmofs-s3": mount_vmofs_s3,
    "rclone-s3": mount_rclone_s3,
    "s3fs-s3": mount_s3fs_s3,
    "vmofs": mount_vmofs,
    "nbdfuse": mount_nbdfuse,
    "rclone": mount_rclone,
    "s3fs": mount_s3fs,
    "httpdirfs": mount_httpdirfs,
}
S3_PEERS = ["rclone-s3", "s3fs-s3"]
PEERS = ["nbdfuse", "rclone", "s3fs", "httpdirfs"]
ALL = ["vmofs", "vmofs-s3", "curl", "boto3", "native", "tmpfs", *PEERS, *S3_PEERS]


def open_mount(lab, tool, server, names, mode="sequential", options=None):
    mount = Mount(lab)
    try:
        MOUNTS[tool](mount, server, names, mode, options)
        mount.wait_usable()
    except BaseException:
        mount.close()
        raise
    return mount


def curl_command(server):
    return enter(server.client_netns) + [need("curl"), "-s", "-S", "-f"]
