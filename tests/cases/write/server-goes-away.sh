#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# The server is not there for a while: writers within the limit go on, fsync=local returns, all is in the bucket afterwards by itself;
# with answers of 500 and 503 too.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'cannot|refused|timed out|500|503|SlowDown|InternalError'

AWAY=${AWAY:-4}
write_start
echo base | s3_put - s3://bucket/old
down=$TEST_TMP/down
s3_front "if (-f $down) { return 503; }"
export AWS_ENDPOINT_URL=$S3_URL
write_mount "$MNT" fsync=local,write-age=200ms
cat "$MNT/old" >/dev/null
ls "$MNT" >/dev/null

write_for() # SECONDS NAME: files that are written and synced meanwhile
{
	python3 - "$MNT" "$TEST_TMP/written" "$@" <<'PY'
import os, sys, time
mnt, copy, seconds, name = sys.argv[1:]
os.makedirs(copy, exist_ok=True)
end, i, slowest = time.monotonic() + float(seconds), 0, 0
while time.monotonic() < end:
    for top in (mnt, copy):
        begin = time.monotonic()
        with open(f"{top}/old", "a") as f:
            f.write(f"{name} {i}\n")
            f.flush()
            os.fsync(f.fileno())
        if top == mnt:
            slowest = max(slowest, time.monotonic() - begin)
    i += 1
    time.sleep(0.05)
print(f"{name}: {i} times, the slowest took {slowest:.2f} s")
if i < 3:
    sys.exit("writers do not go on")
PY
}
mkdir "$TEST_TMP/written"
echo base >"$TEST_TMP/written/old"
touch "$down"
write_for "$AWAY" refused || fail "see above"
[ -n "$("$VMOFS" dirty "$MNT")" ] || fail "nothing is dirty, or vmofs dirty does not say so"
rm "$down"
wait_for 60 is_stored old "$TEST_TMP/written/old" || fail "what was written is not in the bucket"

for p in $(nginx_processes); do kill -STOP "$p"; done
write_for "$AWAY" stopped || { for p in $(nginx_processes); do kill -CONT "$p"; done; fail "see above"; }
for p in $(nginx_processes); do kill -CONT "$p"; done
wait_for 60 is_stored old "$TEST_TMP/written/old" || fail "what was written is not in the bucket"
assert_same_file "$TEST_TMP/written/old" "$MNT/old"

# fsync=remote tells of it, once, and goes through when the server is back.
vmofs_umount
write_mount "$MNT" write-age=600s,timeout=2s
python3 - "$MNT/old" "$down" <<'PY' || fail "see above"
import errno, os, sys, time
f = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
open(sys.argv[2], "w").close()
try:
    os.write(f, b"not yet\n")
except OSError as e:
    sys.exit(f"write: {e}")
try:
    os.fsync(f)
    sys.exit("fsync works without a server")
except OSError as e:
    if e.errno not in (errno.EIO, errno.ETIMEDOUT):
        sys.exit(f"fsync: {e}")
os.unlink(sys.argv[2])
end = time.monotonic() + 60
while True:
    try:
        os.fsync(f)
        break
    except OSError as e:
        if time.monotonic() > end:
            sys.exit(f"fsync later: {e}")
        time.sleep(0.3)
PY
echo "not yet" >>"$TEST_TMP/written/old"
assert_stored old "$TEST_TMP/written/old"
