# SPDX-License-Identifier: Apache-2.0
"""S3 servers of the laboratory: radosgw without a cluster, and the one whose keys are computed."""
import json
import os
import re
import subprocess
import time

from lab import TOP, enter, free_port, wait_until

ROOT = os.environ.get("VMOFS_TEST_CACHE", "/var/cache/vmofs-tests") + "/radosgw-root"
ENV = {"AWS_ACCESS_KEY_ID": "BENCHKEY000000000000", "AWS_SECRET_ACCESS_KEY": "bench/secret", "AWS_REGION": "us-east-1",
       "AWS_EC2_METADATA_DISABLED": "true"}


def environment(base):
    """What the tools read their credentials from; s3fs has names of its own. Nothing else of AWS gets through."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return dict(others, **ENV, AWS_ENDPOINT_URL=base, AWSACCESSKEYID=ENV["AWS_ACCESS_KEY_ID"],
                AWSSECRETACCESSKEY=ENV["AWS_SECRET_ACCESS_KEY"])


class Server:
    """What the tools need of any S3 server: bucket "bucket" at `base`, credentials in `env`."""
    client_netns = None

    def _at(self, base):
        self.base, self.env = base, environment(base)


class Radosgw(Server):
    def __init__(self, lab):
        if not os.path.exists(f"{ROOT}/stamp"):
            raise RuntimeError("no radosgw: sh conf/setup.sh --s3")
        self.dir = lab.scratch(lab.dir)
        for name in ("db", "posix", "run"):
            os.mkdir(f"{self.dir}/{name}")
        port = free_port()
        self._at(f"http://127.0.0.1:{port}")
        with open(f"{TOP}/tests/lib/radosgw.conf") as template, open(f"{self.dir}/ceph.conf", "w") as f:
            f.write(template.read().replace("@PORT@", str(port)))
        common = ["-c", "/srv/ceph.conf", "-n", "client.rgw", "--no-mon-config"]
        subprocess.run(self._inside("radosgw-admin", *common, "user", "create", "--uid=bench", "--display-name=bench",
                                    "--access-key=" + ENV["AWS_ACCESS_KEY_ID"],
                                    "--secret-key=" + ENV["AWS_SECRET_ACCESS_KEY"]), check=True, capture_output=True,
                       timeout=60)
        lab.start(self._inside("radosgw", *common, "-f"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not wait_until(lambda: answers(self), 20, 0.05):
            raise RuntimeError("radosgw does not answer")
        self.log = open(f"{self.dir}/rgw.log")
        self._made = self._filled = False

    def _inside(self, *argv):
        return ["unshare", "--mount", "sh", f"{TOP}/tests/lib/s3_inside.sh", ROOT, self.dir, *argv]

    def client(self, *argv):
        env = dict(self.env, S3_URL=self.base, S3_KEY=ENV["AWS_ACCESS_KEY_ID"], S3_SECRET=ENV["AWS_SECRET_ACCESS_KEY"])
        subprocess.run(["/usr/bin/python3", f"{TOP}/tests/lib/s3_client.py", *argv], env=env, check=True)

    def bucket(self):
        if not self._made:
            self.client("mb", "bucket")
            self._made = True

    def fill(self, keys, directories):
        """Alone: what is in the bucket besides would be listed too."""
        if not self._filled:
            self.bucket()
            self.client("fill", "s3://bucket/", str(keys), str(directories))
            self._filled = True

    def asked(self):
        """Requests since the last call."""
        time.sleep(0.5)
        return {"requests": sum(1 for line in self.log if re.search(r'"[A-Z]+ [^"]*HTTP/', line))}


class Computed(Server):
    def __init__(self, lab, keys, directories, address, netns, client_netns, port):
        self.client_netns = client_netns
        argv = [f"{lab.tools}/s3_listd", "-n", str(keys), "-d", str(directories), "-a", address,
                "-p", str(port)]
        self.process = lab.start(argv, netns, stdout=subprocess.PIPE, text=True)
        self._at(f"http://{address}:{self.process.stdout.readline().strip()}")
        self._seen = 0

    def asked(self):
        argv = enter(self.client_netns) + ["curl", "-sf", f"{self.base}/_stats"]
        total = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)["requests"]
        self._seen, before = total, self._seen
        return {"requests": total - before}


def computed(lab, keys, directories, far=False):
    """The S3 server whose keys are computed (tests/tools/s3_listd.c), near or 20 ms away."""
    def make():
        ends = lab.link() if far else {}
        # A port that is free in a namespace of its own
        return Computed(lab, keys, directories, ends.get("far_addr", "127.0.0.1"), ends.get("far"), ends.get("near"),
                        9000 + directories if far else 0)
    return lab.once(("computed", keys, directories, far), make)


def radosgw(lab):
    return lab.once("radosgw", lambda: Radosgw(lab))


def answers(server):
    argv = enter(server.client_netns) + ["curl", "-s", "-o", "/dev/null", server.base]
    return subprocess.run(argv, stdin=subprocess.DEVNULL).returncode == 0
