#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Files are made, written, appended to, cut, made longer, overwritten, removed; every step is read back, and is in the bucket.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

copy=$TEST_TMP/want
# step KEY WHAT COMMAND...: done to the file of the mount and to a local one; then both are the same, and so is the object
step()
{
	local key=$1 what=$2
	shift 2
	(cd "$copy" && eval "$*") || fail "$what cannot be done to a local file"
	(cd "$MNT" && eval "$*") || fail "$what: it fails"
	cmp "$copy/$key" "$MNT/$key" || fail "$what: other bytes"
	assert_eq "$(stat -c %s "$copy/$key")" "$(stat -c %s "$MNT/$key")" "$what: size"
	"$VMOFS" sync "$MNT/$key" || fail "$what: vmofs sync fails"
	assert_stored "$key" "$copy/$key"
	cmp "$copy/$key" "$MNT/$key" || fail "$what: other bytes when it is stored"
}

for server in moto radosgw; do
	write_start $server
	rm -rf "$copy"
	mkdir "$copy"
	make_object data 300000
	s3_put "$SRV/data" s3://bucket/old
	cp "$SRV/data" "$copy/old"
	write_mount
	step new "a new file" 'echo one >new'
	step new "an append" 'echo two >>new'
	step new "O_TRUNC" 'echo three >new'
	step new "cut to nothing" ': >new'
	step big "a file of 3 MB" "head -c 3000000 '$SRV/data' >big && cat '$SRV/data' '$SRV/data' >>big"
	step old "a page inside" "head -c 4096 /dev/zero | tr '\\0' a | dd of=old bs=4096 seek=7 conv=notrunc status=none"
	step old "two bytes across pages" 'printf XY | dd of=old bs=1 seek=8191 conv=notrunc status=none'
	step old "an append to an old one" 'echo more >>old'
	step old "shorter" 'truncate -s 100001 old'
	step old "longer" 'truncate -s 250000 old'
	step old "longer again, with bytes" 'printf end | dd of=old bs=1 seek=400000 conv=notrunc status=none'
	step old "shorter and longer at once" 'truncate -s 5000 old && truncate -s 9000 old'
	step empty "an empty file" ': >empty'
	step empty "O_EXCL refused" '! (set -C; echo x >empty) 2>/dev/null'
	step "sub/dir/file" "a file in new directories" 'mkdir -p sub/dir && echo deep >sub/dir/file'
	(cd "$MNT" && rm new) || fail "rm fails"
	assert_errno ENOENT cat "$MNT/new"
	is_absent new || fail "what was removed is still in the bucket"
	rm "$copy/new"
	# radosgw lists what was overwritten with sizes from nowhere.
	[ $server = radosgw ] || assert_same_tree "$copy"
	assert_eq "big empty old sub" "$(ls "$MNT" | tr '\n' ' ' | sed 's/ $//')" "names"
	assert_eq 644 "$(stat -c %a "$MNT/empty")" "mode"
	vmofs_umount

	# A read only mount afterwards sees it all, and cannot write.
	vmofs_mount s3://bucket "$MNT" -o ro
	[ $server = radosgw ] || assert_same_tree "$copy"
	assert_fails 'Read-only' sh -c "echo x >>'$MNT/old'"
	vmofs_umount
done

# Many small files, closed and not synced, are all there when the mount has ended.
write_start moto
write_mount
mkdir "$MNT/many" "$TEST_TMP/many"
for i in $(seq 200); do
	echo "file $i" >"$TEST_TMP/many/$i"
done
cp "$TEST_TMP"/many/* "$MNT/many/"
vmofs_umount
s3 ls s3://bucket/many/ | awk '$2 !~ /\/$/ { print $2 }' | sort >"$TEST_TMP/keys"
seq 200 | sed 's,^,many/,' | sort | diff - "$TEST_TMP/keys" || fail "not all files are in the bucket"
assert_text many/77 "file 77"
