#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands over a tree: counters of the mount and of a file, evict, prefetch and pin of one file.
. "$TEST_LIB/common.sh"

make_object sub/a.bin 1M
make_object sub/b.bin 3000
make_object c.bin 10000
nginx_start "autoindex on;"
vmofs_mount "$NGINX_URL/" "$MNT"

assert_eq "$NGINX_URL/" "$(vmofs_stat source)" "source"
assert_match "^$NGINX_URL/" "$(findmnt -no SOURCE "$MNT")" "what the mount table shows"
ls -lR "$MNT" >/dev/null
assert_eq 2 "$(vmofs_stat tree.listings)" "listings"
assert_eq 2 "$(vmofs_stat tree.dirs)" "directories"
assert_between 5 "$(vmofs_stat tree.nodes)" 6 "nodes"
assert_eq 0 "$(vmofs_stat tree.hidden)" "hidden names"
assert_eq 0 "$(vmofs_stat tree.objects_opened)" "objects that a listing opened"
assert_match '^names known +[56]$' "$("$VMOFS" stat "$MNT")"
requests=$(vmofs_stat requests)

file() { vmofs_stat "$1" "$MNT/${2:-sub/a.bin}"; }
assert_eq file "$(file type)" "type"
assert_eq 1048576 "$(file size)" "size"
assert_eq False "$(file cached)" "whether it is cached"
assert_eq directory "$(file type sub)" "type"
assert_eq "$requests" "$(vmofs_stat requests)" "requests sent for that"

assert_match 'present: 1048576' "$("$VMOFS" prefetch "$MNT/sub/a.bin")"
assert_eq 1048576 "$(file resident)" "resident after a prefetch"
assert_eq 1048576 "$(vmofs_stat resident)" "resident of the mount"
assert_eq "$NGINX_URL/sub/a.bin" "$(file source)" "where a file comes from"
fetched=$(vmofs_stat bytes_fetched)
assert_same_file "$SRV/sub/a.bin" "$MNT/sub/a.bin"
assert_eq "$fetched" "$(vmofs_stat bytes_fetched)" "bytes fetched by the reader"
assert_match "vmo 'a.bin'" "$("$VMOFS" dump "$MNT/sub/a.bin")" "dump of a file"
assert_match 'a.bin' "$("$VMOFS" dump "$MNT")" "dump of the tree"

assert_match 'evicted: 1048576' "$("$VMOFS" evict "$MNT/sub/a.bin")"
assert_eq 0 "$(vmofs_stat resident)" "resident after an eviction"
assert_same_file "$SRV/sub/a.bin" "$MNT/sub/a.bin"
[ "$(vmofs_stat bytes_fetched)" -ge $((fetched + 1048576)) ] || fail "nothing was fetched again"

# What is pinned stays, also when the kernel has forgotten the file and everything is evicted.
"$VMOFS" pin "$MNT/sub/b.bin" >/dev/null
[ "$(id -u)" -ne 0 ] || echo 2 >/proc/sys/vm/drop_caches
"$VMOFS" evict "$MNT" >/dev/null
assert_eq 4096 "$(vmofs_stat resident)" "what was pinned"
assert_eq 1 "$(vmofs_stat tree.objects_open)" "open files"
"$VMOFS" pin --undo "$MNT/sub/b.bin" >/dev/null
"$VMOFS" evict "$MNT" >/dev/null
assert_eq 0 "$(vmofs_stat resident)" "what was unpinned"
assert_eq 0 "$(vmofs_stat tree.objects_open)" "open files"

assert_fails "'sub' is a directory" "$VMOFS" pin "$MNT/sub"
assert_fails "No such file|no file" "$VMOFS" evict "$MNT/sub/nothing"
vmofs_umount
