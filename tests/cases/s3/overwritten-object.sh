#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Without versions an open file whose object was overwritten gives ESTALE for what is not here; a new open sees the new one.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

make_object old 8388608
make_object new 6291456
# Not radosgw: its posix backend lists an overwritten key with a size from nowhere.
s3_start_moto
s3_mb bucket
s3_put "$SRV/old" s3://bucket/file
s3_env
vmofs_mount s3://bucket "$MNT" -o metadata-ttl=1s,readahead-max=0
expect_log 'changed|412|PreconditionFailed'
exec 5<"$MNT/file"
s3_read() { python3 -c '
import errno, os, sys
os.posix_fadvise(5, 0, 0, os.POSIX_FADV_RANDOM)
try:
    sys.stdout.buffer.write(os.pread(5, int(sys.argv[2]), int(sys.argv[1])))
except OSError as e:
    sys.exit(errno.errorcode[e.errno])' "$@"; }
s3_read 0 4096 >"$TEST_TMP/got"
cmp -n 4096 "$TEST_TMP/got" "$SRV/old" || fail "wrong bytes at the beginning"
s3_put "$SRV/new" s3://bucket/file
assert_errno ESTALE s3_read 4194304 65536
s3_read 0 4096 | cmp -n 4096 - "$SRV/old" || fail "what was here is not served any more"
new_is_seen() { cmp -s "$MNT/file" "$SRV/new"; }
wait_for 10 new_is_seen || fail "the new object does not come"
assert_eq 6291456 "$(stat -c %s "$MNT/file")" "size"
