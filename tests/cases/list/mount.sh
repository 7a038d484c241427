#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A list of URLs of several servers is a tree; where it says sizes and versions, nothing is asked before the first read.
. "$TEST_LIB/common.sh"

make_object a 100000
make_object "with space" 5000
make_object c 3
nginx_start
first=$NGINX_URL log=$TEST_TMP/nginx/access.log
etag() { curl -sI "$first/$1" | tr -d '\r' | sed -n 's/^ETag: //p'; }
{
	printf '# everything\n\n'
	printf 'x/a.bin\t%s/a\t100000\t%s\n' "$first" "$(etag a)"
	printf 'x/tab%%09bed\t%s/with%%20space\t5000\n' "$first"
	printf 'x/y/z/c\t%s/c\t3\r\n' "$first"
	printf 'local\tfile://%s/c\t3\n' "$SRV"
	printf 'nothing/\n'
} >"$TEST_TMP/known.list"

: >"$log"
cd "$TEST_TMP"
vmofs_mount list:known.list
cd /
assert_eq "d nothing,d x,d x/y,d x/y/z,f local,f x/a.bin,f x/tab?bed,f x/y/z/c," \
	"$(cd "$MNT" && find . -mindepth 1 -printf '%y %P\n' | tr '\t' '?' | sort | tr '\n' ',')"
assert_eq 100000 "$(stat -c %s "$MNT/x/a.bin")"
assert_eq 5000 "$(stat -c %s "$MNT/x/tab	bed")"
[ ! -e "$MNT/x/missing" ] || fail "a name that is not in the list"
assert_eq 0 "$(wc -l <"$log")" "requests before the first read"
assert_same_file "$SRV/a" "$MNT/x/a.bin"
assert_same_file "$SRV/with space" "$MNT/x/tab	bed"
assert_same_file "$SRV/c" "$MNT/x/y/z/c"
assert_same_file "$SRV/c" "$MNT/local"
vmofs_umount

# Sizes that the list does not say are asked for.
printf 'a\t%s/a\nb\t%s/missing\n' "$first" "$first" >"$TEST_TMP/unknown.list"
assert_match ' 100000 .* a$' "$("$VMOFS" ls -l "list:$TEST_TMP/unknown.list")"
vmofs_mount "list:$TEST_TMP/unknown.list"
assert_eq 100000 "$(stat -c %s "$MNT/a")"
assert_same_file "$SRV/a" "$MNT/a"
assert_errno ENOENT cat "$MNT/b"
vmofs_umount

# Another version than the list says is never shown.
printf 'a\t%s/a\t100000\t"other"\nb\t%s/a\t99999\n' "$first" "$first" >"$TEST_TMP/wrong.list"
vmofs_mount "list:$TEST_TMP/wrong.list"
assert_errno ESTALE cat "$MNT/a"
assert_errno ESTALE cat "$MNT/b"
vmofs_umount
