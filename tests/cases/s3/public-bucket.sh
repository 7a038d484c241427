#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# Nothing is signed with no-sign-request, and nobody is asked for credentials.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb public public
s3_fill s3://public/ 20 2
s3_front 'if ($http_authorization) { return 418; }'
export AWS_ENDPOINT_URL=$S3_URL
vmofs_mount s3://public "$MNT" -o no-sign-request
assert_eq 20 "$(find "$MNT" -type f | wc -l)" files
assert_eq d001/f00003 "$(cat "$MNT/d001/f00003")"
