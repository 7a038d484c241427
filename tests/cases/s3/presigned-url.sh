#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# A presigned URL mounts as any other one, without credentials; its signature is not shown.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

make_object file 3000000
s3_start
s3_mb bucket
s3_put "$SRV/file" "s3://bucket/some file"
url=$(s3 presign "s3://bucket/some file")
vmofs_mount "$url"
assert_same_file "$SRV/file" "$MNT/some file"
signature=${url##*Signature=}
[ ${#signature} -ge 64 ] || fail "no signature in '$url'"
! "$VMOFS" stat "$MNT" | grep -F "$signature" || fail "stat shows the signature"
! findmnt -rno SOURCE "$MNT" | grep -F "$signature" || fail "the mount table shows the signature"
