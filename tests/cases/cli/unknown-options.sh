#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An unknown option is an error that names the nearest one, on the command line and in a file.
. "$TEST_LIB/common.sh"

assert_fails "unknown option 'memroy'; did you mean 'memory'" "$VMOFS" mount -o memroy=1G http://127.0.0.1:1/x "$MNT"
assert_fails "unknown option 'quite-different'" "$VMOFS" mount -o quite-different http://127.0.0.1:1/x "$MNT"
for cmd in "mount $MNT" ls cat; do
	# shellcheck disable=SC2086  # the mountpoint too
	{
		assert_fails "unknown option 'memroy'; did you mean 'memory'" "$VMOFS" $cmd --memroy=1G http://127.0.0.1:1/x
		assert_fails "option '--stall-timeout' needs a value" "$VMOFS" $cmd http://127.0.0.1:1/x --stall-timeout
		assert_fails "'stall-timeout': 'soon' is not a time" "$VMOFS" $cmd --stall-timeout soon http://127.0.0.1:1/x
	}
done
assert_fails "'memory': 'much' is not a size" "$VMOFS" mount --memory much http://127.0.0.1:1/x "$MNT"
printf '[mount]\nmemory = 1G\ntimeuot = 5s\n' >"$TEST_TMP/conf"
assert_fails "conf:3: unknown option 'timeuot'; did you mean 'timeout'" \
	"$VMOFS" mount -c "$TEST_TMP/conf" http://127.0.0.1:1/x "$MNT"
assert_fails "cannot open" "$VMOFS" mount -c "$TEST_TMP/missing" http://127.0.0.1:1/x "$MNT"
"$VMOFS" --list-options | sed -n 's/^mount -o \([a-z0-9-]*\).*/\1/p' | sort | uniq -d >"$TEST_TMP/twice"
assert_eq "" "$(cat "$TEST_TMP/twice")" "options listed twice"
