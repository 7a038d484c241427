#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# SSE-C: objects stored under a key of the customer's are read with it, refused without it, and the key is not told.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

make_object file 1000000
head -c 32 /dev/urandom >"$TEST_TMP/key"
head -c 32 /dev/urandom >"$TEST_TMP/other"
s3_start
s3_mb bucket
s3 put_sse_c "$SRV/file" s3://bucket/file "$TEST_TMP/key"
s3_env
expect_log 'InvalidRequest|AccessDenied|400|403'
vmofs_mount s3://bucket "$MNT" -o insecure,sse-c-key-file="$TEST_TMP/key"
assert_same_file "$SRV/file" "$MNT/file"
vmofs_umount
for how in insecure "insecure,sse-c-key-file=$TEST_TMP/other"; do
	vmofs_mount s3://bucket "$MNT" -o "$how"
	! cat "$MNT/file" >/dev/null 2>&1 || fail "it can be read with $how"
	vmofs_umount
done
# The key goes out over TLS alone when nobody says otherwise.
assert_fails 'insecure|https' "$VMOFS" mount -o sse-c-key-file="$TEST_TMP/key" s3://bucket "$MNT"
assert_fails 'key' "$VMOFS" mount -o insecure,sse-c-key-file=/nonexistent s3://bucket "$MNT"
