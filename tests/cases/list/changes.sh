#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A list is read again when it has changed; one that has become bad is logged, and the old one still counts.
. "$TEST_LIB/common.sh"

make_object a 10
make_object b 20
nginx_start
list=$TEST_TMP/files.list
line() { printf '%s\t%s/%s\t%s\n' "$1" "$NGINX_URL" "$2" "$3"; }
replace() { cat >"$list.new"; mv "$list.new" "$list"; }
line one a 10 | replace
vmofs_mount "list:$list" "$MNT" --metadata-ttl=300ms --negative-ttl=100ms
assert_same_file "$SRV/a" "$MNT/one"
{ line one b 20; line two a 10; } | replace
wait_for 5 test -e "$MNT/two" || fail "a new line is not seen"
assert_same_file "$SRV/a" "$MNT/two"
wait_for 5 cmp -s "$SRV/b" "$MNT/one" || fail "another URL is not seen"
printf 'bad line\n' | replace
wait_for 5 grep -q "files.list:1: there is no URL.*still counts" "$LOG" || fail "nothing in the log"
assert_same_file "$SRV/b" "$MNT/one"
line three a 10 | replace
wait_for 5 test -e "$MNT/three" || fail "a list that is good again is not seen"
wait_for 5 test ! -e "$MNT/one" || fail "a removed line is still there"
vmofs_umount
