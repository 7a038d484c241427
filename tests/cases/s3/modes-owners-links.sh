#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# Modes, owners, times and symbolic links from the metadata that s3fs and rclone write; from the options where there is none.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb bucket
echo plain | s3_put - s3://bucket/plain
echo script | s3_put - s3://bucket/script mode=33261 uid=1234 gid=2345 mtime=1700000000
printf script | s3_put - s3://bucket/link mode=41471 uid=0 gid=0 mtime=1700000000
echo rclone | s3_put - s3://bucket/timed mtime=1600000000.123456789
s3_env

# Nothing but the listing, which knows none of it.
vmofs_mount s3://bucket "$MNT" -o uid=77,gid=88,file-mode=0440,dir-mode=0550
s3_mark
assert_eq "440 77 88" "$(stat -c '%a %u %g' "$MNT/plain")"
assert_eq "440 77 88" "$(stat -c '%a %u %g' "$MNT/script")"
assert_eq "550 77 88" "$(stat -c '%a %u %g' "$MNT")"
assert_between $(($(date +%s) - 100)) "$(stat -c %Y "$MNT/plain")" $(($(date +%s) + 5)) "mtime"
assert_eq 0 "$(s3_count "$S3_HEADS")" "HEAD requests"
vmofs_umount

vmofs_mount s3://bucket "$MNT" -o object-metadata,uid=77,gid=88
assert_eq "755 1234 2345 1700000000" "$(stat -c '%a %u %g %Y' "$MNT/script")"
assert_eq "444 77 88" "$(stat -c '%a %u %g' "$MNT/plain")"
assert_match '^1600000000\.123456' "$(stat -c %.Y "$MNT/timed")" "mtime"
assert_eq "symbolic link" "$(stat -c %F "$MNT/link")"
assert_eq script "$(readlink "$MNT/link")"
assert_eq script "$(cat "$MNT/link")"
ls -l "$MNT" >/dev/null
