#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A file read from one end to the other is the object, byte for byte, and is fetched once.
. "$TEST_LIB/common.sh"

make_object big.bin 64M
nginx_start
vmofs_mount "$NGINX_URL/big.bin" "$MNT" -o hedge=0
assert_eq big.bin "$(ls "$MNT")"
assert_eq 67108864 "$(stat -c %s "$MNT/big.bin")"
assert_same_file "$SRV/big.bin" "$MNT/big.bin"
assert_between 67108864 "$(vmofs_stat bytes_fetched)" 67174400 "bytes fetched"
assert_same_file "$SRV/big.bin" "$MNT/big.bin"
assert_between 67108864 "$(vmofs_stat bytes_fetched)" 67174400 "bytes fetched after a second reading"
vmofs_umount
