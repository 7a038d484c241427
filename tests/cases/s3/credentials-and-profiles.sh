#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# Where credentials come from: the environment, the files with profiles, a process; the first that is there wins.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb bucket
s3_fill s3://bucket/ 3 1
export AWS_ENDPOINT_URL=$S3_URL AWS_REGION=us-east-1
works() # WHAT [ARGUMENT...]
{
	what=$1; shift
	vmofs_mount s3://bucket "$MNT" "$@" || fail "$what: no mount"
	assert_eq d000/f00001 "$(cat "$MNT/d000/f00001")" "$what"
	vmofs_umount
}
mkdir "$HOME/.aws"
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n[bad]\naws_access_key_id=NOBODY\naws_secret_access_key=x\n' \
	"$S3_KEY" "$S3_SECRET" >"$HOME/.aws/credentials"
works "the credentials file"
assert_fails InvalidAccessKeyId "$VMOFS" mount -o profile=bad s3://bucket "$MNT"
AWS_PROFILE=bad assert_fails InvalidAccessKeyId "$VMOFS" mount s3://bucket "$MNT"
AWS_ACCESS_KEY_ID=$S3_KEY AWS_SECRET_ACCESS_KEY=$S3_SECRET AWS_PROFILE=default works "the environment"
mv "$HOME/.aws/credentials" "$TEST_TMP/elsewhere"
AWS_SHARED_CREDENTIALS_FILE=$TEST_TMP/elsewhere works "another file"
printf '[profile p]\ncredential_process = "%s" with "two words"\n' "$TEST_TMP/print it" >"$HOME/.aws/config"
printf '#!/bin/sh\nprintf %%s "{\\"Version\\": 1, \\"AccessKeyId\\": \\"%s\\", \\"SecretAccessKey\\": \\"%s\\"}"\n' "$S3_KEY" "$S3_SECRET" >"$TEST_TMP/print it"
chmod 755 "$TEST_TMP/print it"
works "a process" -o profile=p

