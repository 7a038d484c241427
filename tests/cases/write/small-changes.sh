#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# TIMEOUT: 600
# A small change of a large object is put together by the server: the temporary object has a name that mounts do not show, it is gone after the store, after
# each refusal and after kill -9, in a bucket with versions too; another version that comes meanwhile is not overwritten.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'cannot|journal|recover|temporary|bytes around|conflict|changed by somebody'

write_start
s3_mb versions versioned
cat >"$TEST_TMP/small.py" <<'PY'
import errno, os, signal, subprocess, sys, threading
import boto3, botocore.config
import s3_between
mnt, vmofs, log, journal = sys.argv[1:5]
c = boto3.client("s3", endpoint_url=os.environ["S3_URL"], region_name="us-east-1", aws_access_key_id=os.environ["S3_KEY"],
                 aws_secret_access_key=os.environ["S3_SECRET"],
                 config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
between = s3_between.Between(os.environ["S3_URL"], strict=True)
between.client = c
MIB = 1 << 20
SIZE = 24 * MIB
n = 0
def mount(bucket, options="", prefix=""):
    subprocess.run([vmofs, "mount", "-o", "rw,write-age=600s,metadata-ttl=0,negative-ttl=0,readahead-max=0,fsync=remote,"
                    f"journal-dir={journal},log-file={log},log-level=debug{options}", f"s3://{bucket}{prefix}", mnt],
                   check=True, env=dict(os.environ, AWS_ENDPOINT_URL=between.url))
def umount():
    subprocess.run([vmofs, "umount", mnt], check=True)
def stat(name):
    out = subprocess.run([vmofs, "stat", "--json", mnt], check=True, capture_output=True, text=True).stdout
    return int(out.split(f'"{name}":')[1].split(",")[0].strip(" }\n"))
def make(bucket, prefix=""):
    global n
    n += 1
    base = os.urandom(SIZE)
    c.put_object(Bucket=bucket, Key=f"{prefix}f{n}", Body=base)
    return f"f{n}", bytearray(base)
def write(name, want, *offsets):
    """A descriptor with a page at each of these written, and not stored."""
    fd = os.open(f"{mnt}/{name}", os.O_RDWR)
    for at in offsets:
        page = os.urandom(4096)
        os.pwrite(fd, page, at)
        want[at:at + 4096] = page
    return fd
def end(bucket, name, want, fd, prefix=""):
    os.fsync(fd)
    os.close(fd)
    stored = c.get_object(Bucket=bucket, Key=prefix + name)["Body"].read()
    if stored != bytes(want):
        sys.exit(f"{name} is not what was written; {between.lines}")
def temps(bucket):
    v = c.list_object_versions(Bucket=bucket)
    return [o["Key"] for kind in ("Versions", "DeleteMarkers") for o in v.get(kind, []) if "vmofs-tmp" in o["Key"]]
def uploads(bucket):
    return [u["Key"] for u in c.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
def nothing_left(bucket, what):
    if temps(bucket) or uploads(bucket):
        sys.exit(f"{what}: left in {bucket}: {temps(bucket)} {uploads(bucket)}")
def store(bucket, *offsets, prefix=""):
    """Lines of the requests, and bytes up."""
    name, want = make(bucket, prefix)
    fd = write(name, want, *offsets)
    up = stat("bytes_up")
    between.arm(1000)
    end(bucket, name, want, fd, prefix)
    return between.disarm()[1], stat("bytes_up") - up
def tries(lines):
    return sum("vmofs-tmp" in line and line.endswith("?uploads=") for line in lines)
def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: {got}, not {want}")

for bucket in ("bucket", "versions"):
    mount(bucket)
    lines, up = store(bucket, 12 * MIB)
    check("joints", tries(lines), 1)
    check("bytes up", up, 4096)
    nothing_left(bucket, "a page")
    lines, up = store(bucket, 6 * MIB, 15 * MIB, 23 * MIB + 4096)
    check("joints of several changes", tries(lines), 2)
    check("bytes up of several changes", up, MIB - 4096 + 2 * 4096)
    nothing_left(bucket, "several pages")
    lines, up = store(bucket, 4096)
    check("joints without a part before it", tries(lines), 0)
    # What is here is sent.
    name, want = make(bucket)
    fd = write(name, want, 12 * MIB)
    for at in range(19 * MIB, 5 * MIB, -MIB): # not as a stream, which leaves nothing behind in memory
        if os.pread(fd, MIB, at) != bytes(want)[at:at + MIB]:
            sys.exit("the mount has something else")
    between.arm(1000)
    end(bucket, name, want, fd)
    check("joints of what is here", tries(between.disarm()[1]), 0)
    umount()
print("stored", flush=True)

mount("bucket", ",small-parts=fetch")
lines, up = store("bucket", 12 * MIB)
check("joints that were not wanted", tries(lines), 0)
check("bytes up as usual", up, 5 * MIB)
umount()
c.put_object(Bucket="bucket", Key="pre/fix/g", Body=b"")
mount("bucket", prefix="/pre/fix")
lines, up = store("bucket", 20 * MIB, prefix="pre/fix/")
if not any(line.startswith("POST /bucket/pre/fix/vmofs-tmp-") for line in lines):
    sys.exit(f"not in the mount: {lines}")
umount()

# Nobody sees it in a mount.
mount("bucket")
name, want = make("bucket")
seen = []
def look():
    seen.extend((temps("bucket"), os.listdir(mnt)))
fd = write(name, want, 12 * MIB)
between.arm(3, match="vmofs-tmp", after=look)
end("bucket", name, want, fd)
between.quiet()
check("objects while it is there", len(seen[0]), 1)
check("names in the mount", [f for f in seen[1] if "tmp" in f], [])
umount()

# Each request of it is refused, and the copy from it.
for at, match in ((0, "vmofs-tmp"), (1, "vmofs-tmp"), (2, "vmofs-tmp"), (3, "vmofs-tmp"), (4, "vmofs-tmp"), (0, "/f{}?partNumber=2")):
    bucket = ("versions", "bucket")[at % 2]
    status = (403, 501)[at % 2]
    mount(bucket)
    name, want = make(bucket)
    fd = write(name, want, 12 * MIB)
    between.arm(at, refuse=status, match=match.format(n))
    end(bucket, name, want, fd)
    had, lines = between.disarm()
    umount()
    if at == 4:
        check("objects that could not be removed", len(temps(bucket)), 1)
        mount(bucket)
        store(bucket, 12 * MIB)
        umount()
    nothing_left(bucket, f"{status} for {at} of {match} of {lines}")
    print(f"refused: {at} of {match}: {status}", flush=True)
print("refused", flush=True)

# Killed when it is there.
for bucket in ("bucket", "versions"):
    mount(bucket, ",fsync=local")
    name, want = make(bucket)
    fd = write(name, want, 12 * MIB)
    os.fsync(fd)
    pid = stat("pid")
    killed = threading.Event()
    def kill():
        os.kill(pid, signal.SIGKILL)
        killed.set()
    between.arm(4, match="vmofs-tmp", before=kill)
    subprocess.run([vmofs, "sync", f"{mnt}/{name}"], capture_output=True, timeout=120)
    os.close(fd)
    killed.wait(60)
    between.quiet()
    subprocess.run(["umount", "-l", mnt], check=True)
    mount(bucket, ",fsync=local")
    subprocess.run([vmofs, "sync", mnt], check=True)
    if c.get_object(Bucket=bucket, Key=name)["Body"].read() != bytes(want):
        sys.exit("killed: something else is stored")
    other = c.put_object(Bucket=bucket, Key="vmofs-tmp-" + "0" * 32, Body=b"of somebody else")
    fd = write(name, want, 12 * MIB)
    subprocess.run([vmofs, "sync", mnt], check=True)
    end(bucket, name, want, fd)
    umount()
    c.delete_object(Bucket=bucket, Key="vmofs-tmp-" + "0" * 32, **({"VersionId": other["VersionId"]} if "VersionId" in other else {}))
    nothing_left(bucket, "killed")
print("killed", flush=True)

# Another version comes at each request from the first of the temporary object on.
for at, match in ((0, "vmofs-tmp"), (3, "vmofs-tmp"), (0, "/f{}?uploads="), (0, "/f{}?uploadId=")):
    mount("versions")
    name, want = make("versions")
    fd = write(name, want, 12 * MIB)
    theirs = os.urandom(SIZE)
    between.arm(at, match=match.format(n), before=lambda: c.put_object(Bucket="versions", Key=name, Body=theirs) and None)
    try:
        os.fsync(fd)
        sys.exit(f"another version before {at} of {match}: stored")
    except OSError as e:
        check("another version", e.errno, errno.ESTALE)
    between.quiet()
    os.close(fd)
    if c.get_object(Bucket="versions", Key=name)["Body"].read() != theirs:
        sys.exit(f"another version before {at} of {match} was overwritten")
    nothing_left("versions", f"another version before {at} of {match}")
    subprocess.run([vmofs, "resolve", "--keep-remote", f"{mnt}/{name}"], check=True)
    umount()
print("others", flush=True)
PY
PYTHONPATH=$TEST_LIB PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$TEST_TMP/small.py" "$MNT" "$VMOFS" "$LOG" "$JOURNAL" || fail "see above"
