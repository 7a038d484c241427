#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# The bucket in the host's name, as S3 itself wants it.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start "rgw_dns_name = s3.localhost"
s3_mb bucket
s3_fill s3://bucket/ 3 1
s3_env
export AWS_ENDPOINT_URL=http://s3.localhost:$S3_PORT
vmofs_mount s3://bucket "$MNT" -o addressing=virtual
s3_mark
assert_eq d000/f00001 "$(cat "$MNT/d000/f00001")"
assert_between 1 "$(s3_count '"GET /d000/f00001')" 2 "requests without the bucket in their path"
vmofs_umount
vmofs_mount s3://bucket "$MNT" -o addressing=path
assert_eq d000/f00001 "$(cat "$MNT/d000/f00001")"
