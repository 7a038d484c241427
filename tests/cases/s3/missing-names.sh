#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# A name that is not there is asked for once, and again when negative-ttl is over.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start_moto
s3_mb bucket
s3_fill s3://bucket/ 10 1
s3_env
vmofs_mount s3://bucket "$MNT" -o negative-ttl=600s,metadata-ttl=600s
s3_mark
python3 - "$MNT" <<'PY'
import errno, os, sys
for _ in range(50):
    for name in ("missing", "d000/missing", "no/such/dir"):
        try:
            os.stat(f"{sys.argv[1]}/{name}")
            sys.exit(f"{name} is there")
        except OSError as e:
            if e.errno != errno.ENOENT:
                sys.exit(f"{name}: {e}")
PY
assert_between 1 "$(s3_count "$S3_ALL")" 8 "requests for three missing names, 50 times each"
vmofs_umount

vmofs_mount s3://bucket "$MNT" -o negative-ttl=1s,metadata-ttl=600s
assert_errno ENOENT stat "$MNT/late"
echo late | s3_put - s3://bucket/late
is_there() { [ "$(cat "$MNT/late" 2>/dev/null)" = late ]; }
wait_for 10 is_there || fail "the new key is not seen after negative-ttl"
