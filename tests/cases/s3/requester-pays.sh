#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# Every request says that the requester pays, and that is signed.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb bucket
s3_fill s3://bucket/ 4 2
s3_front 'if ($http_x_amz_request_payer != requester) { return 403; }'
s3_env
assert_fails '403' "$VMOFS" mount s3://bucket "$MNT"
vmofs_mount s3://bucket "$MNT" -o requester-pays
assert_eq 4 "$(find "$MNT" -type f | wc -l)" files
assert_eq d000/f00002 "$(cat "$MNT/d000/f00002")"
