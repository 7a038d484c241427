#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# With a small dirty limit writers wait for room and nothing is lost; where no room can be made they get ENOSPC, and what
# they had written before is stored when the server is back.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'cannot|503|SlowDown|ENOSPC|no room'

write_start
make_object one 12000000
make_object two 9000001
make_object old 20000000
s3_put "$SRV/old" s3://bucket/old
down=$TEST_TMP/down
s3_front "if (-f $down) { return 503; }"
export AWS_ENDPOINT_URL=$S3_URL
write_mount "$MNT" dirty-limit=2M,write-age=600s --memory 16M
cp "$SRV/one" "$MNT/one" & first=$!
cp "$SRV/two" "$MNT/two" & second=$!
# Pages all over an old file, more of them than the limit.
python3 - "$MNT/old" "$SRV/old" <<'PY' || fail "a writer fails"
import os, random, sys
r = random.Random(1)
fds = [os.open(p, os.O_RDWR) for p in sys.argv[1:]]
for i in range(1500):
    off, data = r.randrange(20000000 - 3000), r.randbytes(r.randrange(1, 3000))
    for fd in fds:
        os.pwrite(fd, data, off)
PY
wait $first || fail "a writer fails"
wait $second || fail "a writer fails"
for f in one two old; do
	assert_same_file "$SRV/$f" "$MNT/$f"
done
assert_between 1 "$(vmofs_stat write.waits)" 1000000 "writers that waited"
assert_between 0 "$(vmofs_stat write.dirty_bytes)" 2097152 "dirty bytes"
sync_all
for f in one two old; do
	assert_stored $f "$SRV/$f"
done
vmofs_umount

write_mount "$MNT" dirty-limit=2M,timeout=2s --memory 16M
python3 - "$MNT/full" "$TEST_TMP/full" "$down" <<'PY' || fail "see above"
import errno, os, sys
f, copy = (os.open(p, os.O_WRONLY | os.O_CREAT, 0o644) for p in sys.argv[1:3])
open(sys.argv[3], "w").close()
data = os.urandom(1 << 16)
for i in range(200):
    try:
        n = os.write(f, data)
    except OSError as e:
        if e.errno != errno.ENOSPC:
            sys.exit(f"write: {e}")
        break
    os.write(copy, data[:n])
    if n < len(data):
        break
else:
    sys.exit("12 MiB fit into 2")
if not 1 << 20 <= os.fstat(f).st_size <= 3 << 20:
    sys.exit(f"it holds {os.fstat(f).st_size} bytes")
PY
rm "$down"
wait_for 70 is_stored full "$TEST_TMP/full" || fail "what was written is not in the bucket"
assert_same_file "$TEST_TMP/full" "$MNT/full"
