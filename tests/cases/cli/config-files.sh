#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The user's file counts, then -c, then -o; a section with a prefix counts for its sources only.
. "$TEST_LIB/common.sh"

make_object data.bin 1000
nginx_start
mkdir -p "$HOME/.config/vmofs"
cat >"$HOME/.config/vmofs/vmofs.conf" <<CONF
# a comment
[mount]
memory = 24M
name = from-home
[mount "$NGINX_URL/"]
name = from-prefix
[mount "http://elsewhere/"]
name = from-elsewhere
memory = 25M
CONF
printf '[mount]\nmemory = 26M\n' >"$TEST_TMP/extra"
vmofs_mount "$NGINX_URL/data.bin"
assert_eq from-prefix "$(ls "$MNT")"
assert_eq $((24 << 20)) "$(vmofs_stat memory_limit)"
vmofs_umount
vmofs_mount "$NGINX_URL/data.bin" "$MNT" -c "$TEST_TMP/extra" -o name=from-option
assert_eq from-option "$(ls "$MNT")"
assert_eq $((26 << 20)) "$(vmofs_stat memory_limit)"
vmofs_umount
vmofs_mount "$NGINX_URL/data.bin" "$MNT" -c "$TEST_TMP/extra" --memory 27M
assert_eq $((27 << 20)) "$(vmofs_stat memory_limit)"
vmofs_umount
"$VMOFS" mount -c "$VMOFS_SRC/conf/vmofs.conf" "$NGINX_URL/data.bin" "$MNT" || fail "the default file is refused"
vmofs_umount
