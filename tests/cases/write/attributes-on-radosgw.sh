#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Extended attributes in a bucket of a server that verifies signatures: what stands in their header is signed as it is sent.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

set_xattr() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())' "$@"; }

write_start radosgw
write_mount "$MNT" xattrs
echo text >"$MNT/a"
set_xattr "$MNT/a" user.before "the first store /+=%"
sync_all
set_xattr "$MNT/a" user.after "the first store"
sync_all
head -c 12000000 /dev/urandom >"$SRV/big"
cp "$SRV/big" "$MNT/big"
set_xattr "$MNT/big" user.in parts
sync_all
vmofs_umount
write_mount "$MNT" xattrs
assert_eq "the first store /+=%" "$(get_xattr "$MNT/a" user.before)" "set before the first store"
assert_eq "the first store" "$(get_xattr "$MNT/a" user.after)" "set after the first store"
assert_eq parts "$(get_xattr "$MNT/big" user.in)" "of one in parts"
# Not by the mount: this server lists what has been overwritten with sizes from nowhere.
assert_text a text
assert_stored big "$SRV/big"
