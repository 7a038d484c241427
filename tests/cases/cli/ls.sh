#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmofs ls shows objects, directories and whole trees without a mount, for people and for programs.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

mkdir -p "$SRV/dir/sub dir" "$SRV/dir/empty"
printf 12345 >"$SRV/dir/b"
printf 1 >"$SRV/dir/sub dir/a"
touch -d '2021-02-03 04:05:06 UTC' "$SRV/dir/b"
index_start_nginx
export TZ=UTC

assert_eq "b empty/ sub dir/" "$("$VMOFS" ls "$INDEX_URL/dir/" | tr '\n' ' ' | sed 's/ $//')"
assert_match '^-r--r--r-- +5 2021-02-03 04:05:00 b$' "$("$VMOFS" ls -l "$INDEX_URL/dir/")"
assert_match '^dr-xr-xr-x +- 20.* sub dir/$' "$("$VMOFS" ls -l "$INDEX_URL/dir/")"
assert_match '^-r--r--r-- +5 2021-02-03 04:05:06 b$' "$("$VMOFS" ls -l "$INDEX_URL/dir/b")"
assert_eq "a" "$("$VMOFS" ls -p 'dir/sub dir' "$INDEX_URL/")"
assert_eq "a" "$("$VMOFS" ls -p 'dir/sub dir/' "$INDEX_URL/")"
assert_eq "b" "$("$VMOFS" ls -p dir/b "$INDEX_URL/")"
assert_eq "dir/ dir/b dir/empty/ dir/sub dir/ dir/sub dir/a" "$("$VMOFS" ls -R "$INDEX_URL/" | tr '\n' ' ' | sed 's/ $//')"
assert_eq '{"name":"b","type":"file","size":5,"mtime":1612325100}' "$("$VMOFS" ls --json "$INDEX_URL/dir/" | head -1)"
assert_match '^{"name":"b","type":"file","size":5,"mtime":1612325106,"validator":"\\".*\\""}$' "$("$VMOFS" ls --json -p dir/b -l "$INDEX_URL/" && "$VMOFS" ls --json "$INDEX_URL/dir/b")"

printf 'p/q\t%s/dir/b\t5\np/r\t%s/dir/b\nz\t%s/nothing\n' "$INDEX_URL" "$INDEX_URL" "$INDEX_URL" >"$TEST_TMP/l"
assert_eq "p/q p/r z" "$("$VMOFS" ls -R "list:$TEST_TMP/l" | tr '\n' ' ' | sed 's/ $//')"
assert_eq "p/ z" "$("$VMOFS" ls "list:$TEST_TMP/l" | tr '\n' ' ' | sed 's/ $//')"
assert_match ' 5 .* p/r$' "$("$VMOFS" ls -lR "list:$TEST_TMP/l")"
assert_match ' \? .* z$' "$("$VMOFS" ls -l "list:$TEST_TMP/l")"
assert_eq 12345 "$("$VMOFS" cat -p p/r "list:$TEST_TMP/l")"
assert_fails "there is no 'nothing'" "$VMOFS" ls -p nothing "list:$TEST_TMP/l"
assert_fails "'z'" "$VMOFS" cat -p z "list:$TEST_TMP/l"
