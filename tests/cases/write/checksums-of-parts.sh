#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 120
# What was stored in parts, and what was copied of that by the server, can be read to its end: whatever the server says of checksums
# then is of the parts, of the base, or of another kind than it is called.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

write_start "${1:-moto}"
make_object made 30000000
s3_put "$SRV/made" s3://bucket/large
write_mount
dd if=/dev/urandom of="$MNT/large" bs=4096 seek=100 count=1 conv=notrunc status=none
sync_all
fetch large

read_anew() # WHAT
{
	vmofs_umount
	write_mount
	cmp "$TEST_TMP/fetched" "$MNT/large" || fail "$1 cannot be read"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads ($1)"
}

read_anew "what was stored in parts"
chmod 600 "$MNT/large"
sync_all
read_anew "what was copied with other attributes"
mv "$MNT/large" "$MNT/moved"
mv "$MNT/moved" "$MNT/large"
sync_all
read_anew "what was renamed"
vmofs_umount
