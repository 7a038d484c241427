#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prefetch of a directory: all files below it, in few round trips, as far as they fit; what cannot be read is told.
. "$TEST_LIB/common.sh"

for i in $(seq 40); do make_object "many/f$i" 5000; done
for i in 1 2 3 4 5; do make_object "some/f$i" 5000; done
make_object deep/a/b/c.bin 300K
make_object deep/a/d.bin 3M
make_object deep/e.bin 0
make_object top.bin 10M
make_object big/one 20M
make_object big/two 20M
nginx_start "autoindex on; location ~ /some/f[24] { return 403; }"
vmofs_mount "$NGINX_URL/" "$MNT" --memory 32M
expect_log "Permission denied|403"

resident() { vmofs_stat resident "$MNT/$1"; }
assert_match 'present: 200000 bytes in 40 files' "$("$VMOFS" prefetch "$MNT/many")"
requests=$(vmofs_stat requests)
cat "$MNT"/many/* | cmp - <(cd "$SRV" && cat many/*)
assert_eq "$requests" "$(vmofs_stat requests)" "requests of the readers"

assert_match 'present: 3452928 bytes in 3 files' "$("$VMOFS" prefetch "$MNT/deep/")"
assert_eq 307200 "$(resident deep/a/b/c.bin)" "resident of the deepest file"
assert_eq 3145728 "$(resident deep/a/d.bin)" "resident of a larger file"
assert_same_file "$SRV/deep/a/d.bin" "$MNT/deep/a/d.bin"

assert_fails "OFFSET and LENGTH are of a file" "$VMOFS" prefetch "$MNT/deep" 4096
assert_fails "No such file" "$VMOFS" prefetch "$MNT/nothing"
# The first one fits, the second does not.
assert_fails "'big/two' does not fit: 1 files with 20 MiB are present" "$VMOFS" prefetch "$MNT/big"
assert_eq 20971520 "$(resident big/one)" "resident of what fits"

# What is refused is told, the others come.
assert_fails "f2.*so are 1 more; 3 files are present" "$VMOFS" prefetch "$MNT/some"
assert_eq 8192 "$(resident some/f3)" "resident of the next one"

# All of the mount.
"$VMOFS" evict "$MNT" >/dev/null
assert_fails "'big/one' does not fit" "$VMOFS" prefetch "$MNT"
assert_eq 10485760 "$(resident top.bin)" "resident of what came before"
vmofs_umount
