#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every command explains itself; what is unknown is an error with status 2.
. "$TEST_LIB/common.sh"

assert_match 'usage: vmofs COMMAND' "$("$VMOFS" --help)"
for cmd in mount clone umount ls cat stat dump prefetch pin evict sync dirty conflicts resolve recover cache version help; do
	assert_match "usage: vmofs $cmd" "$("$VMOFS" $cmd --help)"
	assert_match "usage: vmofs $cmd" "$("$VMOFS" help $cmd)"
done
assert_match '^vmofs [0-9]' "$("$VMOFS" version)"
assert_match '^vmofs [0-9]' "$("$VMOFS" --version)"
assert_match '^mount -o memory=SIZE' "$("$VMOFS" --list-options)"
for wrong in "frobnicate" "stat --frob /" "stat -x /" "mount --memory" "stat" "umount a b" "help frob"; do
	status=0
	# shellcheck disable=SC2086  # several words
	"$VMOFS" $wrong >/dev/null 2>"$TEST_TMP/said" || status=$?
	[ $status -ne 0 ] || fail "'$wrong' works"
	[ -s "$TEST_TMP/said" ] || fail "'$wrong' says nothing"
done
status=0; "$VMOFS" frobnicate 2>/dev/null || status=$?
assert_eq 2 $status "status"
assert_fails 'is not in a mount of vmofs' "$VMOFS" stat /
assert_fails 'No such file' "$VMOFS" stat "$TEST_TMP/missing"
