#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# With allow-other, and only then, other users read; the old spelling works too.
. "$TEST_LIB/common.sh"

need setpriv
need_root
make_object data.bin 100000
nginx_start
user() { setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$@"; }
for opt in allow-other allow_other allow-other=yes; do
	vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o $opt
	user cmp "$SRV/data.bin" "$MNT/data.bin" || fail "$opt does not work"
	vmofs_umount
done
vmofs_mount "$NGINX_URL/data.bin"
assert_fails 'Permission denied' user cat "$MNT/data.bin"
vmofs_umount
