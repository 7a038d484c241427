#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# What the server refuses is told at the mount with its code and request id: a wrong secret, a key nobody knows, no
# credentials at all, a bucket that is not there, one that is not public.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb bucket
echo text | s3_put - s3://bucket/key
s3_env
# tells PATTERN [NAME=VALUE...] SOURCE [ARGUMENT...]
export VMOFS MNT
tells() # PATTERN COMMAND-LINE
{
	assert_fails "$1" bash -c "$2"
	! is_mounted || fail "mounted: $2"
}
tells 'SignatureDoesNotMatch.*tx[0-9a-f]+|tx[0-9a-f]+.*SignatureDoesNotMatch' \
	'AWS_SECRET_ACCESS_KEY=wrong "$VMOFS" mount s3://bucket "$MNT"'
tells 'InvalidAccessKeyId' 'AWS_ACCESS_KEY_ID=NOBODY "$VMOFS" mount s3://bucket "$MNT"'
tells '[Cc]redential' 'env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$VMOFS" mount s3://bucket "$MNT"'
tells 'no-sign-request' 'env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$VMOFS" mount s3://bucket "$MNT"'
tells 'NoSuchBucket' '"$VMOFS" mount s3://no-such-bucket "$MNT"'
tells 'AccessDenied' '"$VMOFS" mount -o no-sign-request s3://bucket "$MNT"'
tells 'wrong.profile' 'AWS_PROFILE=wrong-profile "$VMOFS" mount s3://bucket "$MNT"'
# A secret never stands in what is said.
! "$VMOFS" mount s3://no-such-bucket "$MNT" 2>&1 | grep -F "$S3_SECRET" || fail "the secret is printed"
vmofs_mount s3://bucket
assert_eq text "$(cat "$MNT/key")"
! grep -F "$S3_SECRET" "$LOG" || fail "the secret is in the log"
! "$VMOFS" dump "$MNT" | grep -F "$S3_SECRET" || fail "the secret is in the dump"
