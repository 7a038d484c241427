#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Objects of awkward sizes: nothing, one byte, about a page, about a megabyte.
. "$TEST_LIB/common.sh"

nginx_start
for size in 0 1 4095 4096 4097 1048575 1048577 3000001; do
	make_object "o$size" $size
	vmofs_mount "$NGINX_URL/o$size"
	assert_eq $size "$(stat -c %s "$MNT/o$size")" "size"
	assert_same_file "$SRV/o$size" "$MNT/o$size"
	[ $size -eq 0 ] || assert_eq "$(tail -c 1 "$SRV/o$size" | od -An -tx1)" \
		"$(read_at "$MNT/o$size" $((size - 1)) 100 | od -An -tx1)" "last byte of $size"
	assert_eq "" "$(read_at "$MNT/o$size" $((size + 10)) 10)" "what is beyond the end of $size"
	vmofs_umount
done
