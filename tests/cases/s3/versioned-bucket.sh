#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# In a versioned bucket an open file stays what it was: its version is asked for by its id after another took its place.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

make_object old 8388608
make_object new 8388608
# Not radosgw: its posix backend lists an overwritten key with a size from nowhere.
s3_start_moto
s3_mb bucket versioned
s3_put "$SRV/old" s3://bucket/file
s3_env
vmofs_mount s3://bucket "$MNT" -o metadata-ttl=1s,readahead-max=0
exec 5<"$MNT/file"
s3_read() { python3 -c 'import os, sys; os.posix_fadvise(5, 0, 0, os.POSIX_FADV_RANDOM); sys.stdout.buffer.write(os.pread(5, int(sys.argv[2]), int(sys.argv[1])))' "$@"; }
s3_read 0 4096 >"$TEST_TMP/got"
cmp -n 4096 "$TEST_TMP/got" "$SRV/old" || fail "wrong bytes at the beginning"
s3_put "$SRV/new" s3://bucket/file
assert_eq 2 "$(s3 versions s3://bucket/file | wc -l)" versions
s3_mark
s3_read 4194304 65536 >"$TEST_TMP/got" || fail "the old version cannot be read any more"
cmp -n 65536 "$TEST_TMP/got" <(tail -c +4194305 "$SRV/old") || fail "not the old version"
assert_between 1 "$(s3_count '"GET [^"]*versionId=')" 99 "requests with the version's id"
new_is_seen() { cmp -s "$MNT/file" "$SRV/new"; }
wait_for 10 new_is_seen || fail "the new version does not come"
s3_read 6291456 4096 >"$TEST_TMP/got"
cmp -n 4096 "$TEST_TMP/got" <(tail -c +6291457 "$SRV/old") || fail "not the old version beside the new one"
