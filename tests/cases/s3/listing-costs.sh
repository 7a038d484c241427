#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ls -l asks for listings and nothing else; find over many directories does not ask for each; the second time costs nothing.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

# Ten pages, and what splitting a listing into parallel parts costs.
s3_listd_start -n 10000 -d 0
s3_env
vmofs_mount s3://bucket
assert_eq 10000 "$(ls -l "$MNT" | grep -c '^-r.* 4096 .* f')" files
assert_eq 0 "$(s3_listd_stat heads)" "HEAD requests"
assert_eq 0 "$(s3_listd_stat gets)" "GET requests"
assert_between 10 "$(s3_listd_stat lists)" 24 "listings of 10,000 keys"
before=$(s3_listd_stat requests)
ls -l "$MNT" >/dev/null
stat "$MNT/f00000001" "$MNT/f00009999" >/dev/null
assert_eq "$before" "$(s3_listd_stat requests)" "requests after the second ls -l"
vmofs_umount

s3_listd_start -n 20000 -d 200
s3_env
vmofs_mount s3://bucket
assert_eq 20000 "$(find "$MNT" -type f -printf x | wc -c)" files
assert_eq 0 "$(s3_listd_stat heads)" "HEAD requests"
assert_between 20 "$(s3_listd_stat requests)" 220 "requests for 20,000 keys in 200 directories"
before=$(s3_listd_stat requests)
ls -lR "$MNT" >/dev/null
assert_eq "$before" "$(s3_listd_stat requests)" "requests after ls -lR"
vmofs_umount

# The same on a real server.
s3_start
s3_mb bucket
s3_fill s3://bucket/ 2000 20
s3_env
vmofs_mount s3://bucket
s3_mark
assert_eq 2000 "$(find "$MNT" -type f -size 11c -printf x | wc -c)" files
assert_eq 0 "$(s3_count "$S3_HEADS")" "HEAD requests"
assert_between 2 "$(s3_count "$S3_ALL")" 25 "requests for 2,000 keys in 20 directories"
