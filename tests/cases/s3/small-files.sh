#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Many small files, read one after another and eight at a time, are right; each is fetched once.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb bucket
mkdir "$SRV/d"
python3 -c '
import os, sys
for i in range(300):
    open(f"{sys.argv[1]}/f{i:03}", "wb").write(os.urandom(4096))' "$SRV/d"
s3_sync "$SRV" s3://bucket/
s3_env
vmofs_mount s3://bucket
s3_mark
cat "$MNT"/d/* | cmp - <(cat "$SRV"/d/*) || fail "wrong bytes"
assert_between 300 "$(s3_count '"GET /bucket/d/')" 305 "requests for 300 files"
vmofs_umount

vmofs_mount s3://bucket
(cd "$MNT/d" && ls | xargs -P 8 -n 10 sh -c 'for f; do cmp "$f" "$0/$f" || exit 1; done' "$SRV/d") || fail "wrong bytes"
