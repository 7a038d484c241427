#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmofs clone: a private writable file that is an object's child, by its URL and by its path in a mount; it is as it was after an unmount and after
# kill -9, two of one object know nothing of each other, and the origin is only read.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/write.sh"

nginx_start "autoindex on;"
make_object image 3000000
cp "$SRV/image" "$TEST_TMP/origin"
mkdir "$SRV/dir"
echo inside >"$SRV/dir/file"
cd "$TEST_TMP"

clone() { "$VMOFS" clone -o "cow-dir=$TEST_TMP/cow,log-file=$LOG,log-level=debug" "$@"; }
poke() { printf '%s' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; } # FILE AT TEXT
poke_both() { poke "$1" "$2" "$3"; poke "$1.want" "$2" "$3"; }
same() { cmp "$1" "$1.want" || fail "$1 is not what it should be"; }
umount_clone() { timeout $((60 * SLOW)) "$VMOFS" umount "$TEST_TMP/$1" || fail "umount of $1"; }

# By its URL, at a name that is not there yet.
clone "$NGINX_URL/image" one
cp origin one.want
same one
poke_both one 5000 first
poke_both one 2999990 'the very end, and beyond it'
same one
[ "$(stat -c %s one)" = "$(stat -c %s one.want)" ] || fail "size"
assert_fails 'is mounted already' clone "$NGINX_URL/image" one
assert_fails 'is mounted; unmount it first' clone --discard one
umount_clone one
assert_eq 0 "$(stat -c %s one)" "size of what the clone was mounted at"
clone "$NGINX_URL/image" one
same one
poke_both one 1000000 second
sync -f one
sleep 2
kill_mount "$TEST_TMP/one"
clone "$NGINX_URL/image" one
same one
truncate -s 1500000 one one.want
truncate -s 2500000 one one.want
same one
umount_clone one
clone "$NGINX_URL/image" one
same one

# By its path in a mount, with the source's options; it knows nothing of the first.
vmofs_mount "$NGINX_URL/" "$MNT" -o "cache-dir=$TEST_TMP/cache"
clone "$MNT/image" two
cmp two origin || fail "the second clone has something of the first"
cp origin two.want
poke_both two 5000 other
same two
same one
assert_fails 'was changed here' clone one three
[ ! -e three ] || fail "a clone that failed leaves its place behind"
assert_fails 'is in the mount' clone "$MNT/image" "$MNT/four"
assert_fails 'is in no mount|is not in a mount' clone "$TEST_TMP/origin" five

# A tree.
clone "$MNT" tree
echo more >>tree/dir/file
echo new >tree/new
umount_clone tree
clone "$NGINX_URL/" tree
assert_eq "inside more" "$(tr '\n' ' ' <tree/dir/file | sed 's/ $//')" "a file of a clone of a tree"
assert_eq new "$(cat tree/new)" "a new file"
umount_clone tree
vmofs_umount

# What it would hide.
echo precious >full
assert_fails 'would hide' clone "$NGINX_URL/image" full
assert_eq precious "$(cat full)" "a file in the way"

# Forgotten.
umount_clone two
umount_clone one
clone --discard one
assert_fails 'there is no clone' clone --discard one
clone "$NGINX_URL/image" one
cmp one origin || fail "something was not forgotten"
umount_clone one
clone "$NGINX_URL/image" two
same two
umount_clone two

cmp "$SRV/image" origin || fail "the origin has changed"
! grep -vE '"(GET|HEAD) ' "$TEST_TMP/nginx/access.log" | grep . || fail "more than reads was asked of the server"
