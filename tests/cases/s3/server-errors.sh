#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# What the server says about a read that it refuses stands in the file's attributes: code, message, request id.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb bucket
s3_fill s3://bucket/ 6 2
XML='<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Not for you.</Message><RequestId>REQ4711</RequestId></Error>'
s3_front '' "error_page 403 /denied; location = /bucket/d000/f00002 { return 403; }
	location = /denied { internal; default_type application/xml; add_header x-amz-request-id REQ4711 always; return 403 '$XML'; }"
s3_env
vmofs_mount s3://bucket "$MNT" -o xattrs
expect_log AccessDenied
assert_eq d000/f00000 "$(cat "$MNT/d000/f00000")"
assert_errno EACCES cat "$MNT/d000/f00002"
said=$(get_xattr "$MNT/d000/f00002" user.vmofs.error)
for part in AccessDenied 'Not for you' REQ4711; do
	assert_match "$part" "$said" "user.vmofs.error"
done
assert_eq d000/f00004 "$(cat "$MNT/d000/f00004")"
