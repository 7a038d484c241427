#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# A key and a prefix of one name: the directory is shown. A key that ends in a slash: an empty directory. Content in
# such a key cannot be shown, and is counted.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb bucket
printf '%s' '{"same": "as a file", "same/inner": "inside", "marker/": "", "with/": "content", "with/more": "m",
	"deep/marker/": "", "alone": "text"}' | s3 texts bucket
s3_env
vmofs_mount s3://bucket
assert_eq './
./alone
./deep/
./deep/marker/
./marker/
./same/
./same/inner
./with/
./with/more' "$(cd "$MNT" && find . \( -type d -printf '%p/\n' \) -o -printf '%p\n' | LC_ALL=C sort)" "the tree"
assert_eq inside "$(cat "$MNT/same/inner")"
assert_eq text "$(cat "$MNT/alone")"
assert_eq 0 "$(ls -A "$MNT/marker" | wc -l)" "files in an empty directory"
assert_errno ENOTDIR stat "$MNT/alone/x"
assert_eq 2 "$(vmofs_stat tree.hidden)" "hidden keys"
vmofs_umount

# By path first, without a listing before.
vmofs_mount s3://bucket
assert_eq directory "$(stat -c %F "$MNT/same")"
assert_eq directory "$(stat -c %F "$MNT/marker")"
assert_eq inside "$(cat "$MNT/same/inner")"
