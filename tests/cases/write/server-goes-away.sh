#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# The server is not there for a while (AWAY seconds, twice: answers of 503, then silence): writers within the limit go on, fsync=local
# returns, all is in the bucket afterwards by itself. What is not here cannot be had meanwhile: a page that is overwritten in part, or a name that is
# not known any more, fails at the deadline.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'cannot|refused|timed out|500|503|SlowDown|InternalError'

AWAY=${AWAY:-4}
write_start
echo base | s3_put - s3://bucket/old
head -c 8000000 /dev/urandom >"$TEST_TMP/other" # too large to be read ahead of time
s3_put "$TEST_TMP/other" s3://bucket/other
down=$TEST_TMP/down
s3_front "if (-f $down) { return 503; }"
export AWS_ENDPOINT_URL=$S3_URL
# Names are known for longer than the server is away.
write_mount "$MNT" fsync=local,write-age=200ms,metadata-ttl=1h,negative-ttl=1h
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
        with open(f"{top}/new {name} {i % 50}", "w") as f:
            f.write(f"{i}\n" * 3000)
            f.flush()
            os.fsync(f.fileno())
        if top == mnt:
            slowest = max(slowest, time.monotonic() - begin)
    i += 1
    time.sleep(0.05 if float(seconds) < 60 else 0.5)
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

sync_all

# fsync=remote tells of it, once, and goes through when the server is back. A page that is overwritten in part has to be there, a whole
# one does not.
vmofs_umount
write_mount "$MNT" write-age=600s,timeout=2s
diff -r --exclude=other "$TEST_TMP/written" "$MNT" || fail "not all that was written meanwhile is in the bucket"
python3 - "$MNT/old" "$down" <<'PY' || fail "see above"
import errno, os, sys, time
AWAY = (errno.EIO, errno.ETIMEDOUT)
f = os.open(sys.argv[1], os.O_RDWR | os.O_APPEND)
g = os.open(f"{os.path.dirname(sys.argv[1])}/other", os.O_RDWR)
os.pread(f, 1, max(0, os.fstat(f).st_size - 1))
open(sys.argv[2], "w").close()
try:
    os.pwrite(g, b"part", 4096000 + 10)
    sys.exit("a page that is not here was overwritten in part")
except OSError as e:
    if e.errno not in AWAY:
        sys.exit(f"write of a part: {e}")
if os.pwrite(g, b"w" * 4096, 4096000) != 4096:
    sys.exit("a whole page is not written")
try:
    os.write(f, b"not yet\n")
except OSError as e:
    sys.exit(f"write: {e}")
try:
    os.fsync(f)
    sys.exit("fsync works without a server")
except OSError as e:
    if e.errno not in AWAY:
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
sync_all
{ head -c 4096000 "$TEST_TMP/other"; head -c 4096 /dev/zero | tr '\0' w; tail -c +4100097 "$TEST_TMP/other"; } >"$TEST_TMP/expected"
assert_stored other "$TEST_TMP/expected"
assert_stored old "$TEST_TMP/written/old"
