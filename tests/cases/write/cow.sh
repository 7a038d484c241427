#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# -o cow over a web server and over a bucket: everything can be changed, is there again after an unmount and after kill -9, and
# the origin is never told: no byte of it changes, and nothing but reads is in the server's log.
# TIMEOUT: 300
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

COW=$TEST_TMP/cow
copy=$TEST_TMP/copy

cow_mount() { vmofs_mount "$source" "$MNT" -o "cow,cow-dir=$COW,cache-dir=$TEST_TMP/cache${1:+,$1}"; }

# both COMMAND: done in the mount and in a local copy
both()
{
	(cd "$copy" && eval "$1") || fail "'$1' fails in a local directory"
	(cd "$MNT" && eval "$1") || fail "'$1' fails in the mount"
}

# Nothing of the text before is told by a path: names, contents and links are compared.
assert_like_copy() { assert_same_tree "$copy"; }

change_all()
{
	both 'printf XYZ | dd of=big bs=1 seek=100000 conv=notrunc status=none'
	both 'printf end | dd of=big bs=1 seek=2999998 conv=notrunc status=none'
	both 'echo more >>d/a'
	both 'rm d/gone'
	both 'mv d/b d/sub/moved'
	both 'echo made >new; mkdir -p made/deep; echo x >made/deep/file; ln -s ../new made/link'
	both 'rm d/sub/c; mkdir d/sub/c; echo file >d/sub/c/file'
	both 'rm -r whole; mkdir whole; echo only >whole/this'
	both 'truncate -s 1000 short; truncate -s 300000 short'
	both 'truncate -s 5000000 sparse'
	both 'cp --reflink=auto big big.copy'
}

change_more()
{
	both 'printf 12345 | dd of=big bs=1 seek=4094 conv=notrunc status=none'
	both 'echo again >>new; mv new d/newer; rm made/link'
	both 'mv big.copy big'
	both 'rm -r made'
	both 'sed -i s/more/less/ d/a'
	chmod 751 "$MNT/d/a"
}

check_origin() # the tree in $origin, byte for byte
{
	diff -r "$origin" "$TEST_TMP/origin" >&2 || fail "the origin is not what it was"
}

# Each key with what would tell that it was written, be it with the same bytes.
list_bucket()
{
	s3 ls s3://bucket | while read -r size key; do
		echo "$key $size $(s3 head "s3://bucket/$key" | grep -iE '^(etag|last-modified)' | tr '\r\n' '  ')"
	done
}

make_tree()
{
	rm -rf "$copy" "$TEST_TMP/origin" "$SRV/t"
	mkdir -p "$SRV/t/d/sub" "$SRV/t/whole"
	make_object t/big 3000000
	make_object t/short 200000
	make_object t/sparse 10
	echo a >"$SRV/t/d/a"; echo b >"$SRV/t/d/b"; echo gone >"$SRV/t/d/gone"; echo c >"$SRV/t/d/sub/c"
	echo 1 >"$SRV/t/whole/1"; echo 2 >"$SRV/t/whole/2"
	cp -r "$SRV/t" "$copy"
	cp -r "$SRV/t" "$TEST_TMP/origin"
}

run()
{
	rm -rf "$COW"
	cow_mount
	assert_like_copy
	change_all
	assert_like_copy
	vmofs_umount
	cow_mount
	assert_like_copy
	change_more
	assert_like_copy
	assert_eq 751 "$(stat -c %a "$MNT/d/a")" "mode"
	# What has been closed for a second is in the journal, whether it is stored or not.
	both 'head -c 1500000 big >kept; echo kept >>d/newer'
	sleep 2
	kill_mount
	cow_mount
	assert_like_copy
	assert_eq 751 "$(stat -c %a "$MNT/d/a")" "mode after a kill"
	# Nobody else may have the directory meanwhile.
	mkdir -p "$TEST_TMP/mnt2"
	assert_fails 'another mount keeps its changes' "$VMOFS" mount -o "cow,cow-dir=$COW" "$source" "$TEST_TMP/mnt2"
	vmofs_umount
	# With little memory, from the disk, all over again.
	cow_mount memory=16M
	assert_like_copy
	vmofs_umount
	# Without the option nothing of it is there.
	vmofs_mount "$source" "$MNT" -o ro
	diff -r "$TEST_TMP/origin" "$MNT" >&2 || fail "a mount without cow shows something else"
	vmofs_umount
}

# ---- a web server ----

make_tree
nginx_start "autoindex on;"
source=$NGINX_URL/t/ origin=$SRV/t
run
check_origin
! grep -vE '"(GET|HEAD) ' "$TEST_TMP/nginx/access.log" | grep . || fail "more than reads was asked of the server"

# A file that has changed at the origin: what is here is here, the rest is refused, never mixed.
cow_mount
expect_log 'has changed at the origin'
make_object t/big 3000000
cmp "$MNT/big" "$copy/big" || fail "what is all here has changed with the origin"
vmofs_umount
make_tree
rm -rf "$COW"
cow_mount
printf here | dd of="$MNT/short" bs=1 seek=0 conv=notrunc status=none
vmofs_umount
rm -rf "$TEST_TMP/cache"
sleep 1
make_object t/short 200000
cow_mount
assert_eq here "$(head -c 4 "$MNT/short")" "what is kept here of a file that has changed"
assert_errno ESTALE tail -c 5000 "$MNT/short"
vmofs_umount

# ---- a bucket, without the right to write ----

write_start moto
make_tree
(cd "$SRV/t" && find . -type f | sed 's,^\./,,') | while read -r key; do
	s3_put "$SRV/t/$key" "s3://bucket/$key"
done
list_bucket >"$TEST_TMP/before"
source=s3://bucket
run
list_bucket | diff "$TEST_TMP/before" - >&2 || fail "the bucket is not what it was"

# ---- what goes together ----

assert_fails "'cow' and 'rw' contradict" "$VMOFS" mount -o cow,rw "$source" "$MNT"
assert_fails "'cow' and 'immutable' contradict" "$VMOFS" mount -o "cow,immutable,cow-dir=$COW" "$source" "$MNT"
