#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 240
# A directory with much in it gets another name: open and changed files below it follow, a second one waits for the first; kill -9 in
# the middle leaves each file under one of its names at least, and the next mount ends what was begun. SERVER (moto) or radosgw.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log "was about to become"

write_start "${SERVER:-moto}"
FILES=${FILES:-200}
want=$TEST_TMP/want
mkdir "$want"
fill() # DIR
{
	mkdir -p "$1/sub/deep" "$1/empty"
	for i in $(seq "$FILES"); do echo "number $i" >"$1/sub/$i"; done
	echo top >"$1/top"
	echo deep >"$1/sub/deep/file"
	head -c 300000 /dev/urandom >"$TEST_TMP/large"
	cp "$TEST_TMP/large" "$1/sub/large"
}

echo "all of it, and back"
fill "$want/a"
write_mount
cp -r "$want/a" "$MNT/"
sync_all
ino=$(stat -c %i "$MNT/a/top")
mv "$MNT/a" "$MNT/b"
mv "$want/a" "$want/b"
assert_same_tree "$want"
assert_eq "$ino" "$(stat -c %i "$MNT/b/top")" "the number of a file whose directory was renamed"
s3 ls s3://bucket/ >"$TEST_TMP/keys"
! grep -q ' a/' "$TEST_TMP/keys" || fail "old keys are left: $(grep ' a/' "$TEST_TMP/keys" | head -3)"
assert_text b/sub/deep/file deep
mkdir "$MNT/into" "$want/into"
mv "$MNT/b" "$MNT/into/c"
mv "$want/b" "$want/into/c"
assert_same_tree "$want"
mv "$MNT/into/c" "$MNT/a"
mv "$want/into/c" "$want/a"
assert_same_tree "$want"

echo "files that are open, changed, new, removed"
exec 5<>"$MNT/a/top" 6<"$MNT/a/sub/1" 7<"$MNT/a/sub/2"
rm "$MNT/a/sub/2" "$want/a/sub/2"
echo changed >"$MNT/a/sub/3"
echo changed >"$want/a/sub/3"
echo new >"$MNT/a/sub/new"
echo new >"$want/a/sub/new"
echo more >&5
mv "$MNT/a" "$MNT/b"
mv "$want/a" "$want/b"
echo later >&5
printf 'more\nlater\n' >"$want/b/top"
echo "number 1" | cmp - <(cat <&6) || fail "an open file cannot be read any more"
echo "number 2" | cmp - <(cat <&7) || fail "a removed one that is open cannot be read any more"
exec 5>&- 6<&- 7<&-
assert_same_tree "$want"
sync_all
vmofs_umount
write_mount
assert_same_tree "$want"

echo "what is refused"
mkdir "$MNT/full" "$MNT/none"
touch "$MNT/full/file"
rename() { python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$MNT/$1" "$MNT/$2"; }
! rename b full 2>"$TEST_TMP/err" || fail "a full directory is replaced"
grep -q 'Directory not empty' "$TEST_TMP/err" || fail "it says: $(cat "$TEST_TMP/err")"
rename b none
rename none b
rm -r "$MNT/full"
assert_same_tree "$want"

echo "two at the same time, and names below"
(for i in 1 2 3; do rename b c && rename c b; done) &
mover=$!
for i in $(seq 30); do
	echo "$i" >"$MNT/b/sub/other.$i" 2>/dev/null || echo "$i" >"$MNT/c/sub/other.$i" 2>/dev/null || true
done
wait $mover || fail "a rename fails"
(cd "$MNT/b/sub" && ls other.* 2>/dev/null) | while read -r name; do
	cmp -s <(echo "${name#other.}") "$MNT/b/sub/$name" || fail "$name is not what was written"
done
rm -f "$MNT"/b/sub/other.*
assert_same_tree "$want"
sync_all

echo "kill -9 in the middle"
from=b to=c interrupted=no
for at in 0 0.03 0.06 0.1 0.2 0.3 0.5 1 2 4; do
	# The last ones are for a busy machine, which takes longer to begin.
	case $at in [124]) [ $interrupted = no ] || break ;; esac
	echo "$at" >"$MNT/$from/sub/3"
	echo "$at" >"$want/b/sub/3"
	sync -f "$MNT/$from/sub/3"
	sync_all
	pid=$(vmofs_pid "$MNT")
	rename $from $to 2>/dev/null &
	mover=$!
	sleep "$at"
	kill -9 "$pid"
	wait $mover || true
	wait_for 10 is_gone "$pid"
	umount -l "$MNT"
	s3 ls s3://bucket/ | sed 's/^[0-9]* //' >"$TEST_TMP/keys"
	if grep -q "^$from/" "$TEST_TMP/keys" && grep -q "^$to/" "$TEST_TMP/keys"; then interrupted=yes; fi
	(cd "$want/b" && find . -type f -printf '%P\n') | while read -r name; do
		grep -qxF -e "$from/$name" -e "$to/$name" "$TEST_TMP/keys" || fail "'$name' is under neither of its names"
	done
	write_mount
	if [ -d "$MNT/$to" ]; then
		[ ! -e "$MNT/$from" ] || fail "after $at s both names are left: $(ls "$MNT/$from" "$MNT/$from/sub" | head)"
		t=$from from=$to to=$t
	fi
	diff -r "$want/b" "$MNT/$from" >&2 || fail "after $at s it is not what it was"
done
assert_eq yes "$interrupted" "a rename was interrupted"
