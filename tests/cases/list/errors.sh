#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A wrong list is refused with file, line and what to do about it.
. "$TEST_LIB/common.sh"

list=$TEST_TMP/l
try() { printf "$1" >"$list"; "$VMOFS" ls "list:$list"; }
assert_fails "$list:2: there is no URL" try 'a\thttp://h/a\nb\n'
assert_fails "$list:1: the second field is not a URL" try 'a\ts4://h/a\n'
assert_fails "$list:1: the third field is not a size" try 'a\thttp://h/a\tbig\n'
assert_fails "$list:1: the fourth field is neither an entity tag" try 'a\thttp://h/a\t1\tabc\n'
assert_fails "'a' is in more than one line" try 'a\thttp://h/a\na\thttp://h/b\n'
assert_fails "cannot read the list '$TEST_TMP/missing': No such file" "$VMOFS" ls "list:$TEST_TMP/missing"
assert_fails "cannot read the list '$TEST_TMP': Is a directory" "$VMOFS" ls "list:$TEST_TMP"
assert_fails "names no file" "$VMOFS" ls "list:"
printf 'a\thttp://h/a\t1\nb\thttp://g/b\t1\n' >"$list"
assert_fails "option 'username' is for one server, and the list.*has 2" "$VMOFS" ls --username=me "list:$list"
assert_eq "a b" "$("$VMOFS" ls "list:$list" | tr '\n' ' ' | sed 's/ $//')"
assert_fails "cannot read the list" "$VMOFS" mount "list:$TEST_TMP/missing" "$MNT"
