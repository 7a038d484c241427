#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc
# TIMEOUT: 300
# A second client replaces objects at random moments of their being stored, at every kind of request: nothing of its
# is ever overwritten that was not seen here. ROUNDS (50) for each size.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'conflict|changed|ESTALE|412|PreconditionFailed'

ROUNDS=${ROUNDS:-50}
write_start
write_mount "$MNT" write-age=600s,metadata-ttl=0,negative-ttl=0
cat >"$TEST_TMP/race.py" <<'PY'
# The other client writes with If-Match of what it last saw, so that a version of ours that it replaced is one it has seen; ours must do
# the same. The bucket's history is then a chain: each version names the one it was made of. A break in the chain is a silent overwrite.
import errno, json, os, random, subprocess, sys, threading, time
import boto3, botocore.config, botocore.exceptions
mnt, rounds, vmofs = sys.argv[1], int(sys.argv[2]), sys.argv[3]
r = random.Random(int(os.environ.get("RACE_SEED", "1")))
c = boto3.client("s3", endpoint_url=os.environ["S3_URL"], region_name="us-east-1", aws_access_key_id=os.environ["S3_KEY"],
                 aws_secret_access_key=os.environ["S3_SECRET"],
                 config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
PAGES = {"small": 10, "large": 4000}
LINE = 64
def line(who, n):
    return (b"%s %d " % (who, n)).ljust(LINE, b".")
silent = conflicts = stored = theirs_won = 0
for i in range(rounds):
    key = r.choice(["small", "large"])
    size = PAGES[key] * 4096
    base = line(b"base", i)
    c.put_object(Bucket="bucket", Key=key, Body=base + b"b" * (size - LINE))
    path = f"{mnt}/{key}"
    fd = os.open(path, os.O_RDWR)
    got = os.pread(fd, LINE, 0)
    assert got == base, (i, key, got)
    os.pwrite(fd, line(b"mine", i), r.choice([0, 0, size // 2]) // 4096 * 4096 + LINE)
    mine = line(b"mine", i)
    put = threading.Event()
    def other():
        time.sleep(r.random() * (0.03 if key == "small" else 0.25))
        c.put_object(Bucket="bucket", Key=key, Body=line(b"theirs", i) + b"t" * (size - LINE))
        put.set()
    t = threading.Thread(target=other)
    t.start()
    failed = None
    try:
        os.fsync(fd)
        stored += 1
    except OSError as e:
        failed = e
        assert e.errno == errno.ESTALE, (i, key, e)
        conflicts += 1
    t.join()
    os.close(fd)
    body = c.get_object(Bucket="bucket", Key=key)["Body"].read()
    if failed or body.startswith(b"theirs"):
        # whole and theirs: either they came after ours, or ours was not stored
        if body != line(b"theirs", i) + b"t" * (size - LINE):
            sys.exit(f"round {i}: {key} is a mixture, or ours came through a conflict: {body[:80]!r}")
        theirs_won += not failed
    else:
        # Ours is there although theirs was put: then theirs was there first and has been overwritten.
        silent += 1
        print(f"round {i}: {key}: theirs has been overwritten: {body[:200]!r}")
    if failed:
        subprocess.run([vmofs, "resolve", "--keep-remote", path], check=True, stdout=subprocess.DEVNULL)
print(f"{rounds} rounds: {stored} stored before the other came, {conflicts} conflicts, {silent} overwritten")
sys.exit(bool(silent) or not (stored and conflicts))
PY
/usr/bin/python3 "$TEST_TMP/race.py" "$MNT" "$ROUNDS" "$VMOFS" || fail "see above"
sync_all
assert_eq "" "$(s3 uploads bucket)" "uploads that are left"
