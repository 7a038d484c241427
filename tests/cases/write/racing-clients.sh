#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc
# TIMEOUT: 400
# A second client replaces objects while they are stored: before and after each single request of a store, then ROUNDS (50) times at
# random moments. Nothing of its is ever overwritten that was not seen here, and what is in the bucket is one of the two, whole.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'conflict|changed|ESTALE|412|PreconditionFailed|exists'

ROUNDS=${ROUNDS:-50}
write_start
cat >"$TEST_TMP/race.py" <<'PY'
import errno, os, random, subprocess, sys, threading, time
import boto3, botocore.config
import s3_between
mnt, rounds, vmofs, log = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
seed = int(os.environ.get("SEED", time.time()))
r = random.Random(seed)
c = boto3.client("s3", endpoint_url=os.environ["S3_URL"], region_name="us-east-1", aws_access_key_id=os.environ["S3_KEY"],
                 aws_secret_access_key=os.environ["S3_SECRET"],
                 config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
between = s3_between.Between(os.environ["S3_URL"])
subprocess.run([vmofs, "mount", "-o", f"rw,write-age=600s,metadata-ttl=0,negative-ttl=0,journal-dir=none,log-file={log},log-level=debug",
                "s3://bucket", mnt], check=True, env=dict(os.environ, AWS_ENDPOINT_URL=between.url))
SIZES = {"small": 10 * 4096, "large": 4000 * 4096, "new": 3 * 4096}
LINE = 64
counts = {"stored": 0, "conflicts": 0, "later": 0}
def line(who, n):
    return (b"%s %d " % (who, n)).ljust(LINE, b".")
def one(n, key, start, what):
    """start(theirs): has theirs() called at some moment; it returns what to wait for in the end."""
    name, size, path = f"{key}{n}", SIZES[key], f"{mnt}/{key}{n}"
    theirs = line(b"theirs", n) + b"t" * (size - LINE)
    if key == "new":
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        mine = line(b"mine", n) + b"m" * (size - LINE)
        os.pwrite(fd, mine, 0)
    else:
        base = line(b"base", n) + b"b" * (size - LINE)
        c.put_object(Bucket="bucket", Key=name, Body=base)
        fd = os.open(path, os.O_RDWR)
        assert os.pread(fd, LINE, 0) == base[:LINE], (n, key)
        off = r.choice([LINE, size // 2])
        os.pwrite(fd, line(b"mine", n), off)
        mine = base[:off] + line(b"mine", n) + base[off + LINE:]
    put = threading.Event()
    def other():
        c.put_object(Bucket="bucket", Key=name, Body=theirs)
        put.set()
    end, failed = start(other), False
    try:
        os.fsync(fd)
    except OSError as e:
        failed = True
        if e.errno != errno.ESTALE:
            sys.exit(f"{what}: {name}: fsync: {e}")
    end()
    os.close(fd)
    body = c.get_object(Bucket="bucket", Key=name)["Body"].read()
    if body == mine and put.is_set():
        sys.exit(f"{what}: {name}: theirs was there and has been overwritten, fsync {'failed' if failed else 'worked'}")
    if body not in (mine, theirs) or (failed and body == mine):
        sys.exit(f"{what}: {name}: a mixture, or ours in spite of a conflict: {body[:70]!r}, {len(body)} bytes")
    counts["conflicts" if failed else "later" if put.is_set() else "stored"] += 1
    if failed:
        with open(path, "rb") as f:
            assert f.read() == mine, "what was written here is gone"
        subprocess.run([vmofs, "resolve", "--keep-remote", path], check=True, stdout=subprocess.DEVNULL)
    return put.is_set()
n = 0
for key in SIZES:
    for when in ("before", "after"):
        for at in range(60):
            def start(other):
                between.arm(at, **{when: other})
                return lambda: None
            n += 1
            hit = one(n, key, start, f"{when} request {at} of a store (seed {seed})")
            had, lines = between.disarm()
            if not hit:
                break
        print(f"{key}, {when} each of {at} requests: {counts}", flush=True)
        if at < 1 or at == 59:
            sys.exit(f"there were {at} requests: {lines}")
for key in r.choices(list(SIZES), k=rounds):
    def start(other):
        t = threading.Timer(r.random() * (0.4 if key == "large" else 0.05), other)
        t.start()
        return t.join
    n += 1
    one(n, key, start, f"at random (seed {seed})")
print(f"{n} tries: {counts}")
sys.exit(not (counts["conflicts"] and counts["later"]))
PY
PYTHONPATH=$TEST_LIB PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$TEST_TMP/race.py" "$MNT" "$ROUNDS" "$VMOFS" "$LOG" || fail "see above"
assert_eq "" "$(s3 uploads bucket)" "uploads that are left"
