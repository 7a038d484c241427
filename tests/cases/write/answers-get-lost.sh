#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# TIMEOUT: 300
# The answer to each single request of a store is lost, after the server has done it: the store goes through, once, and is no conflict
# with itself. The daemon is killed at each request of a store: the next mount finds out what became of it.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'cannot|lost|reset|closed|empty reply|journal|recover|[Tt]ransfer|not known'

write_start
cat >"$TEST_TMP/lost.py" <<'PY'
import errno, os, signal, subprocess, sys, threading, time
import boto3, botocore.config
import s3_between
mnt, vmofs, log, journal, quick, unknown = sys.argv[1:7]
c = boto3.client("s3", endpoint_url=os.environ["S3_URL"], region_name="us-east-1", aws_access_key_id=os.environ["S3_KEY"],
                 aws_secret_access_key=os.environ["S3_SECRET"],
                 config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
between = s3_between.Between(os.environ["S3_URL"])
def mount(fsync):
    subprocess.run([vmofs, "mount", "-o", f"rw,fsync={fsync},write-age=600s,metadata-ttl=0,negative-ttl=0,journal-dir={journal},log-file={log},log-level=debug",
                    "s3://bucket", mnt], check=True, env=dict(os.environ, AWS_ENDPOINT_URL=between.url))
def stored(name):
    return c.get_object(Bucket="bucket", Key=name)["Body"].read()
def change(key, n):
    """(name, what it has to be, a descriptor with that written and not stored)"""
    name = f"{key}{n}"
    new = b"%d new " % n * 1000
    if key == "new":
        fd = os.open(f"{mnt}/{name}", os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, new)
        return name, new, fd
    base = b"%07d base\n" % n * (3000 if key == "small" else 1200000)
    c.put_object(Bucket="bucket", Key=name, Body=base)
    fd = os.open(f"{mnt}/{name}", os.O_RDWR)
    os.pwrite(fd, new, len(base) // 2)
    return name, base[:len(base) // 2] + new + base[len(base) // 2 + len(new):], fd
UNKNOWN = open(unknown, "w", buffering=1)
def not_told(lines):
    """The server has begun an upload, and perhaps nobody was told which: of the file, or of what is put together for it."""
    for line in lines:
        if line.startswith("POST ") and line.endswith("?uploads="):
            UNKNOWN.write(line.split("?")[0].split("/")[-1] + "\n")
KINDS = ("new", "small", "large") if quick == "no" else ("small", "new")
n = 0
mount("remote")
for key in KINDS:
    for at in range(60):
        n += 1
        name, want, fd = change(key, n)
        between.arm(at, lose=True)
        end = time.monotonic() + 60
        while True:
            try:
                os.fsync(fd)
                break
            except OSError as e:
                if e.errno == errno.ESTALE or time.monotonic() > end:
                    sys.exit(f"the answer to request {at} was lost: fsync of {name}: {e}; {between.lines}")
        os.close(fd)
        had, lines = between.disarm()
        not_told(lines[at:at + 1])
        if stored(name) != want:
            sys.exit(f"the answer to request {at} was lost: {name} is not what was written; {lines}")
        if open(f"{mnt}/{name}", "rb").read() != want:
            sys.exit(f"the answer to request {at} was lost: the mount has something else in {name}; {lines}")
        if had <= at:
            break
    print(f"{key}: {at} answers lost", flush=True)
subprocess.run([vmofs, "umount", mnt], check=True)
mount("local")
for key in KINDS:
    for at in range(60):
        for when in ("before", "after"):
            n += 1
            name, want, fd = change(key, n)
            os.fsync(fd)
            pid = int(subprocess.run([vmofs, "stat", "--json", mnt], check=True, capture_output=True, text=True).stdout.split('"pid":')[1].split(",")[0])
            killed = threading.Event()
            def kill():
                os.kill(pid, signal.SIGKILL)
                killed.set()
            between.arm(at, **{when: kill})
            subprocess.run([vmofs, "sync", f"{mnt}/{name}"], capture_output=True, timeout=120)
            os.close(fd)
            had, lines = between.disarm()
            # Some requests go side by side.
            not_told(lines[max(at - 3, 0):])
            if not killed.is_set():
                break
            subprocess.run(["umount", "-l", mnt], check=True)
            mount("local")
            if open(f"{mnt}/{name}", "rb").read() != want:
                sys.exit(f"killed {when} request {at}: the next mount has something else in {name}; {lines}")
            said = subprocess.run([vmofs, "sync", mnt], capture_output=True, text=True, timeout=120)
            if said.returncode or stored(name) != want:
                sys.exit(f"killed {when} request {at}: {name} in the bucket is not what was written; sync: {said.stdout}{said.stderr}; {lines}")
        if not killed.is_set():
            break
    print(f"{key}: killed before and after each of {at} requests", flush=True)
PY
quick=no
[ "$TEST_FLAVOUR" = gcc ] || quick=yes
PYTHONPATH=$TEST_LIB PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$TEST_TMP/lost.py" "$MNT" "$VMOFS" "$LOG" "$JOURNAL" $quick "$TEST_TMP/unknown" || fail "see above"
sync_all
vmofs_umount
# But for those whose beginning was not answered: nobody knows whose they are.
[ "$TEST_FLAVOUR" != gcc ] || assert_eq "" "$(s3 uploads bucket | grep -vwFf "$TEST_TMP/unknown")" "uploads that are left"
assert_eq "" "$(s3 ls s3://bucket/ | grep vmofs-tmp)" "temporary objects that are left"
