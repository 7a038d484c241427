# SPDX-License-Identifier: Apache-2.0
"""The laboratory: objects in memory, servers, the slow link, and what processes have used.

Every process started here is remembered and ended by its id; nothing is looked for by name.
"""
import glob
import mmap
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
READY = 5 << 30


def read_text(path):
    with open(path) as f:
        return f.read()


def drop_caches():
    """Drops the kernel's caches, and has as much memory ready as the next run may take.

    A virtual machine's free memory may be its host's, which has to bring it back page by page: whoever ran first
    would pay for those who run after it.
    """
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")
    mmap.mmap(-1, READY, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def wait_until(condition, seconds, step=0.002):
    """The first true value of condition(), or its last false one when the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


def enter(netns):
    return ["nsenter", f"--net={netns}"] if netns else []


def process_tree(pid):
    """The process and all below it."""
    pids, left = [], [pid]
    while left:
        pid = left.pop()
        pids.append(pid)
        for path in glob.glob(f"/proc/{pid}/task/*/children"):
            try:
                left += [int(child) for child in read_text(path).split()]
            except OSError:
                pass
    return pids


def status(pid, key):
    """A number of /proc/PID/status; 0 for a process that is gone."""
    try:
        for line in read_text(f"/proc/{pid}/status").splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def cpu_seconds(pid):
    """User and system time, with the children it has waited for."""
    try:
        fields = read_text(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return sum(int(x) for x in fields[11:15]) / TICKS


def usage(roots):
    """What daemons and their children have used so far."""
    pids = [pid for root in roots for pid in process_tree(root)]
    return {
        "cpu_s": sum(cpu_seconds(p) for p in pids),
        "peak_mib": sum(status(p, "VmHWM") for p in pids) / 1024,
        "rss_mib": sum(status(p, "VmRSS") for p in pids) / 1024,
        "anon_mib": sum(status(p, "RssAnon") + status(p, "RssFile") for p in pids) / 1024,
        "threads": sum(status(p, "Threads") for p in pids),
    }


def machine_busy():
    """(busy, all) CPU ticks of the machine so far."""
    ticks = [int(x) for x in read_text("/proc/stat").splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def renice(pid, nice):
    """Of a process and, where the scheduler groups by session, of its session."""
    if nice:
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        try:
            with open(f"/proc/{pid}/autogroup", "w") as f:
                f.write(str(nice))
        except OSError:
            pass


SIZES = {  # MiB of each object: as it is quoted, and with --quick
    "big.bin": (4096, 512),
    "warm.bin": (1024, 128),
    **{f"four{i}.bin": (512, 64) for i in range(4)},
    **{f"part{i:02}.bin": (16, 4) for i in range(64)},
    **{f"five{i}.bin": (5, 5) for i in range(4)},
    "one.bin": (1, 1),
}
FOUR = [f"four{i}.bin" for i in range(4)]
FIVE = [f"five{i}.bin" for i in range(4)]
PARTS = [f"part{i:02}.bin" for i in range(64)]


class Lab:
    """Owns the directories and processes of one harness run. `names`: the objects that its rows read."""

    def __init__(self, names, quick, nice=0):
        self.nice, self.quick = nice, quick
        self.dir = tempfile.mkdtemp(prefix="vmofs-bench.", dir="/dev/shm")
        self.disk = tempfile.mkdtemp(prefix="vmofs-bench.", dir="/var/tmp")
        self.tools = os.environ["BENCH_TOOLS"]
        self.processes, self._shared, self._held = [], {}, {}
        self.objects = os.path.join(self.dir, "objects")
        os.mkdir(self.objects)
        self._random = os.urandom(32 * MIB)
        for name in sorted(names):
            self._make(name, self.mib(name))

    def mib(self, name):
        return SIZES[name][self.quick]

    def _make(self, name, mib):
        """Random bytes of which hardly two pages are equal: each MiB begins elsewhere in the same random ones."""
        start = int.from_bytes(os.urandom(3), "little")
        with open(os.path.join(self.objects, name), "wb") as f:
            for i in range(mib):
                off = (start + i * 7340033) % (len(self._random) - MIB)
                f.write(self._random[off:off + MIB])

    def sparse(self, size):
        """An object of this many bytes that takes no memory."""
        path = self.object(f"sparse{size}.bin")
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.truncate(size)
        return os.path.basename(path)

    def object(self, name):
        return os.path.join(self.objects, name)

    def native(self, name):
        """The same bytes as a file on disk, made when first asked for."""
        path = os.path.join(self.disk, name)
        if not os.path.exists(path):
            shutil.copyfile(self.object(name), path)
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        return path

    def scratch(self, where=None):
        return tempfile.mkdtemp(dir=where or self.disk)

    def start(self, argv, netns=None, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(enter(netns) + argv, start_new_session=True, **kwargs)
        self.processes.append(process)
        renice(process.pid, self.nice)
        return process

    def stop(self, process, sig=signal.SIGTERM):
        """Ends a process that was started here, gently and then not."""
        if process.poll() is None:
            process.send_signal(sig)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def once(self, key, make):
        """What make() returned when this key was first asked for: servers that several rows share."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def held(self, key, make):
        """As once(), of a mount that stays until release()."""
        if key not in self._held:
            self._held[key] = make()
        return self._held[key]

    def release(self):
        for mount in self._held.values():
            mount.close()
        self._held = {}

    def near(self):
        """A server on loopback."""
        return self.once("near", lambda: Nginx(self, "127.0.0.1", None, None))

    def link(self, rtt_ms=20, mbit=0, loss=0):
        """The ends of a slow link: names of two network namespaces, and the address in the far one."""
        def make():
            argv = [f"{self.tools}/tunlink", "-d", str(rtt_ms), "-l", str(loss)]
            argv += ["-r", str(mbit)] if mbit else []
            process = self.start(argv, stdout=subprocess.PIPE, text=True)
            return dict(word.split("=", 1) for word in process.stdout.readline().split())
        return self.once(("link", rtt_ms, mbit, loss), make)

    def far(self, rtt_ms=20, mbit=0, loss=0):
        """A server behind such a link; its clients enter server.client_netns."""
        def make():
            ends = self.link(rtt_ms, mbit, loss)
            return Nginx(self, ends["far_addr"], ends["far"], ends["near"])
        return self.once(("far", rtt_ms, mbit, loss), make)

    def close(self):
        self.release()
        for process in reversed(self.processes[:]):
            self.stop(process)
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.rmtree(self.disk, ignore_errors=True)


NGINX_CONF = """
daemon off; worker_processes 1; {user}
pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
    sendfile on; keepalive_requests 1000000000; keepalive_timeout 600s;
    log_format bench '$body_bytes_sent $bytes_sent $request_length';
    access_log {dir}/access.log bench buffer=64k;
    map $arg_prefix $listing {{ default none; '' all; '~^[a-z0-9.]+$' $arg_prefix; }}
    client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
    uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;
    server {{
        listen {address}:{port} backlog=4096;
        root {root}; autoindex on;
        location ~ ^/bucket/?$ {{ default_type application/xml; root {dir}/listings; try_files /$listing /none =404; }}
        location /bucket/ {{ alias {root}/; autoindex off; }}
    }}
}}
"""

# The same files as a bucket: a mount of it asks for them by GET and HEAD, after a look at the listing.
BUCKET_XML = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>{prefix}</Prefix>
<KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"""
ENTRY_XML = """<Contents><Key>{key}</Key><LastModified>{when}</LastModified><ETag>&quot;{etag}&quot;</ETag>
<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"""


def bucket_xml(prefix, paths):
    entries = []
    for path in paths:
        st = os.stat(path)
        when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(st.st_mtime))
        entries.append(ENTRY_XML.format(key=os.path.basename(path), when=when, size=st.st_size,
                                        etag=f"{int(st.st_mtime):x}-{st.st_size:x}"))  # as nginx makes it
    return BUCKET_XML.format(prefix=prefix, count=len(entries), entries="".join(entries))


class Nginx:
    """The origin. Its access log counts what went over the wire."""

    def __init__(self, lab, address, netns, client_netns):
        self.lab = lab
        self.dir = lab.scratch(lab.dir)
        self.client_netns = client_netns
        self.host = f"{address}:{8080 if netns else free_port()}"
        self.base = f"http://{self.host}"
        user = "user root;" if os.geteuid() == 0 else ""
        self._write_listings(sorted(glob.glob(f"{lab.objects}/*")))
        with open(f"{self.dir}/nginx.conf", "w") as f:
            f.write(NGINX_CONF.format(dir=self.dir, user=user, root=lab.objects, address=address,
                                      port=self.host.split(":")[1]))
        self.process = lab.start(["nginx", "-c", f"{self.dir}/nginx.conf"], netns)
        if not wait_until(self._answers, 5, 0.02):
            raise RuntimeError("nginx does not answer: " + read_text(f"{self.dir}/error.log"))
        self.log = open(f"{self.dir}/access.log")

    def _write_listings(self, paths):
        """What is answered to a listing: of all, of none, and of each key as the prefix."""
        os.mkdir(f"{self.dir}/listings")
        for name, listed in [("all", paths), ("none", []), *((os.path.basename(p), [p]) for p in paths)]:
            with open(f"{self.dir}/listings/{name}", "w") as f:
                f.write(bucket_xml(name if len(listed) == 1 else "", listed))

    def _answers(self):
        argv = enter(self.client_netns) + ["curl", "-sfI", f"{self.base}/"]
        return subprocess.run(argv, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL).returncode == 0

    def url(self, name):
        return f"{self.base}/{name}"

    def sent(self):
        """What has been sent since the last call: body bytes, all bytes, requests."""
        body = wire = requests = 0
        self.process.send_signal(signal.SIGUSR1)  # reopens, and so writes the log out
        time.sleep(0.3)
        for line in self.log:
            fields = [int(x) for x in line.split()]
            body, wire, requests = body + fields[0], wire + fields[1], requests + 1
        return {"body_mib": body / MIB, "wire_mib": wire / MIB, "requests": requests}

    def signal(self, sig):
        """To the master and its worker."""
        for pid in process_tree(self.process.pid):
            os.kill(pid, sig)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
