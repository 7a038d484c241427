#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc
# TIMEOUT: 400
# A second client replaces objects while they are stored: before and after each single request of a store, then ROUNDS (50) times at
# random moments and requests. Nothing of its is ever overwritten that was not seen here, and what is in the bucket is one of the two, whole. What was
# written here can be read, and what was not is of the version that it was written over, or gone; where the bucket keeps versions it is not gone.
# First as with AWS, whose completions look at preconditions; then with the server as it is (SERVER=moto, or radosgw): these do not, and what comes
# exactly between the comparison and the completion is overwritten; nothing else is.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'conflict|changed|ESTALE|412|PreconditionFailed|exists'

ROUNDS=${ROUNDS:-50}
SERVER=${SERVER:-moto}
write_start "$SERVER"
s3 mb keeping versioned
s3 mb plain
cat >"$TEST_TMP/race.py" <<'PY'
import errno, os, random, subprocess, sys, threading, time
import boto3, botocore.config
import s3_between
mnt, rounds, vmofs, log, bucket, strict = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6], sys.argv[6] == "strict"
keeps = bucket == "keeping"
seed = int(os.environ.get("SEED", time.time()))
r = random.Random(seed)
c = boto3.client("s3", endpoint_url=os.environ["S3_URL"], region_name="us-east-1", aws_access_key_id=os.environ["S3_KEY"],
                 aws_secret_access_key=os.environ["S3_SECRET"],
                 config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
# How much is read, and when, depends on the moment.
between = s3_between.Between(os.environ["S3_URL"], strict, ("GET ",))
between.client = c
subprocess.run([vmofs, "mount", "-o", f"rw,write-age=600s,metadata-ttl=0,negative-ttl=0,journal-dir=none,log-file={log},log-level=debug",
                f"s3://{bucket}", mnt], check=True, env=dict(os.environ, AWS_ENDPOINT_URL=between.url))
SIZES = {"small": 10 * 4096, "large": 4000 * 4096, "new": 3 * 4096}
LINE = 64
counts = {"stored": 0, "conflicts": 0, "later": 0, "overwritten": 0}
def line(who, n):
    return (b"%s %d " % (who, n)).ljust(LINE, b".")
def check_local(what, path, mine, off, whole):
    pages = range(len(mine) // 4096)
    if whole:
        with open(path, "rb") as f:
            if f.read() != mine:
                sys.exit(f"{what}: {path} is not what it was")
    with open(path, "rb", buffering=0) as f:
        for at in sorted(4096 * p for p in {off // 4096, *r.sample(pages, min(8, len(pages)))}):
            try:
                got = os.pread(f.fileno(), 4096, at)
            except OSError as e:
                if e.errno != errno.ESTALE or whole or at <= off < at + 4096:
                    sys.exit(f"{what}: {path} at {at}: {e}")
                continue
            if got != mine[at:at + 4096]:
                sys.exit(f"{what}: {path} at {at} is not what it was: {got[:70]!r}")
def in_window():
    """What was armed lies between the comparison and the completion."""
    when, this, following = between.at() or ("", "", "")
    last = {"before": this, "after": following}.get(when, "")
    return last.startswith("POST ") and "uploadId=" in last
def one(n, key, half, start, what):
    """start(theirs): has theirs() called at some moment; it returns what to wait for in the end."""
    name, size, path = f"{key}{n}", SIZES[key], f"{mnt}/{key}{n}"
    theirs = line(b"theirs", n) + b"t" * (size - LINE)
    if key == "new":
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        mine = line(b"mine", n) + b"m" * (size - LINE)
        os.pwrite(fd, mine, 0)
    else:
        base = line(b"base", n) + b"b" * (size - LINE)
        c.put_object(Bucket=bucket, Key=name, Body=base)
        fd = os.open(path, os.O_RDWR)
        assert os.pread(fd, LINE, 0) == base[:LINE], (n, key)
        off = size // 2 if half else LINE
        os.pwrite(fd, line(b"mine", n), off)
        mine = base[:off] + line(b"mine", n) + base[off + LINE:]
    put = threading.Event()
    def other():
        with between.turn:
            c.put_object(Bucket=bucket, Key=name, Body=theirs)
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
    # Before the object is looked at: what comes after that is no loss.
    between.quiet()
    body = c.get_object(Bucket=bucket, Key=name)["Body"].read()
    if body == mine and put.is_set() and not strict and not failed and in_window():
        counts["overwritten"] += 1
        return True
    if body == mine and put.is_set():
        sys.exit(f"{what}: {name}: theirs was there and has been overwritten, fsync {'failed' if failed else 'worked'}")
    if not put.is_set() and (failed or body != mine):
        sys.exit(f"{what}: {name}: nobody else was there, and it is not stored, fsync {'failed' if failed else 'worked'}")
    if body not in (mine, theirs) or (failed and body == mine):
        sys.exit(f"{what}: {name}: a mixture, or ours in spite of a conflict: {body[:70]!r}, {len(body)} bytes")
    counts["conflicts" if failed else "later" if put.is_set() else "stored"] += 1
    if failed:
        check_local(what, path, mine, LINE if key == "new" else off, keeps)
        subprocess.run([vmofs, "resolve", "--keep-remote", path], check=True, stdout=subprocess.DEVNULL)
    return put.is_set()
n = 0
# What is written where decides how many parts there are.
for key, half in (("small", False), ("large", False), ("large", True), ("new", False)):
    for when in ("before", "after"):
        for at in range(60):
            def start(other):
                between.arm(at, **{when: other})
                return lambda: None
            n += 1
            hit = one(n, key, half, start, f"{when} request {at} of a store (seed {seed})")
            had, lines = between.disarm()
            if not hit:
                break
        print(f"{key}, {when} each of {at} requests: {counts}", flush=True)
        if at < 1 or at == 59:
            sys.exit(f"there were {at} requests: {lines}")
# At random only where nothing may be overwritten.
for key in r.choices(list(SIZES), k=rounds if strict else 0):
    def start(other):
        t = threading.Timer(r.random() * (0.4 if key == "large" else 0.05), other)
        t.start()
        return t.join
    n += 1
    one(n, key, r.random() < 0.5, start, f"at random (seed {seed})")
print(f"{n} tries: {counts}")
sys.exit(not (counts["conflicts"] and counts["later"]) or (strict and counts["overwritten"]))
PY
for how in "bucket strict" "keeping strict" "plain plain"; do
	# shellcheck disable=SC2086
	PYTHONPATH=$TEST_LIB PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$TEST_TMP/race.py" "$MNT" "$ROUNDS" "$VMOFS" "$LOG" $how || fail "see above"
	vmofs_umount
	assert_eq "" "$(s3 uploads ${how% *})" "uploads that are left"
done
