#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 300
# Mode, owner and time of directories: in a bucket they are metadata of the directory's key, as s3fs has them, which is made where there is
# none; they are there after a remount with object-metadata, and go with a rename; in a local directory they are the real ones; a
# copy-on-write child keeps those of what was made in it. tar, cp -a and rsync -a say nothing, and rsync finds nothing to do again.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

of() { stat -c '%a %Y' "$1"; }
meta() { s3 head "s3://bucket/$1" | sed -n "s/^x-amz-meta-$2: //p"; }
mount_it() { write_mount "$MNT" "object-metadata${1:+,$1}"; }

write_start
printf x | s3_put - s3://bucket/unmarked/deep/file
mount_it
mkdir -m 700 "$MNT/made"
assert_eq 700 "$(stat -c %a "$MNT/made")" "mode of mkdir -m"
assert_eq 16832 "$(meta made/ mode)" "the same in the bucket, as s3fs has it"
chmod 2750 "$MNT/made"
touch -d @1500000000 "$MNT/made"
chmod 711 "$MNT/unmarked"
touch -d @1400000000.5 "$MNT/unmarked/deep"
[ "$(id -u)" -ne 0 ] || chown 1234:2345 "$MNT/unmarked"
assert_eq "2750 1500000000" "$(of "$MNT/made")" "before a remount"
ls "$MNT/made" "$MNT/unmarked" >"$TEST_TMP/names"
assert_eq "2750 1500000000" "$(of "$MNT/made")" "when it has been listed"
mv "$MNT/made" "$MNT/moved"
assert_eq 2750 "$(stat -c %a "$MNT/moved")" "after a rename"
vmofs_umount
mount_it
assert_eq "2750 1500000000" "$(of "$MNT/moved")" "after a remount"
assert_eq 711 "$(stat -c %a "$MNT/unmarked")" "after a remount, of one that had no key"
assert_eq 1400000000 "$(stat -c %Y "$MNT/unmarked/deep")" "its time"
[ "$(id -u)" -ne 0 ] || assert_eq 1234:2345 "$(stat -c %u:%g "$MNT/unmarked")" "its owner"
assert_eq x "$(cat "$MNT/unmarked/deep/file")" "what is in it"
rm -r "$MNT/unmarked"
[ ! -e "$MNT/unmarked" ] || fail "it is there again"
is_absent unmarked/ || fail "its key is there again"

# Somebody else changes them.
chmod 755 "$MNT/moved"
s3_rm s3://bucket/moved/
printf '' | s3_put - s3://bucket/moved/ mode=16749 mtime=1300000000
wait_for 10 eval '[ "$(of "$MNT/moved")" = "555 1300000000" ]' || fail "what others set is not shown: $(of "$MNT/moved")"

# Tools.
mkdir -p "$SRV/tree/a/b" "$SRV/tree/c"
echo 1 >"$SRV/tree/a/1"
echo 2 >"$SRV/tree/a/b/2"
ln -s a/1 "$SRV/tree/link"
chmod 750 "$SRV/tree/a"
chmod 500 "$SRV/tree/c"
find "$SRV/tree" -depth -not -type l -exec touch -d @1600000000 {} +
tar -C "$SRV" -cf "$TEST_TMP/x.tar" tree
tar -C "$MNT" -xpf "$TEST_TMP/x.tar" 2>"$TEST_TMP/said" || fail "tar fails"
assert_eq "" "$(cat "$TEST_TMP/said")" "what tar says"
cp -a "$SRV/tree" "$MNT/cp" 2>"$TEST_TMP/said" || fail "cp -a fails"
assert_eq "" "$(cat "$TEST_TMP/said")" "what cp -a says"
shown() { (cd "$1" && find . -mindepth 1 -not -name link -printf '%p %m %T@\n' | LC_ALL=C sort); }
vmofs_umount
mount_it
for made in tree cp; do
	assert_eq "$(shown "$SRV/tree")" "$(shown "$MNT/$made")" "what $made is after a remount"
done
if command -v rsync >/dev/null; then
	rsync -a "$SRV/tree/" "$MNT/rsync" >"$TEST_TMP/said" 2>&1 || fail "rsync -a fails: $(cat "$TEST_TMP/said")"
	vmofs_umount
	mount_it
	assert_eq "$(shown "$SRV/tree")" "$(shown "$MNT/rsync")" "what rsync has made, after a remount"
	assert_eq "" "$(rsync -ai --no-links "$SRV/tree/" "$MNT/rsync" 2>&1 | grep -v 'skipping non-regular')" "what rsync -a finds to do again"
fi

# s3fs
if command -v s3fs >/dev/null; then
	mkdir "$TEST_TMP/s3fs"
	printf '%s:%s' "$S3_KEY" "$S3_SECRET" >"$TEST_TMP/passwd"
	chmod 600 "$TEST_TMP/passwd"
	at_end 'umount -l "$TEST_TMP/s3fs" 2>/dev/null || :'
	s3fs bucket "$TEST_TMP/s3fs" -o "use_path_request_style,url=$S3_URL,passwd_file=$TEST_TMP/passwd" || fail "s3fs does not mount"
	assert_eq "750 1600000000" "$(of "$TEST_TMP/s3fs/tree/a")" "ours, by s3fs"
	mkdir -m 705 "$TEST_TMP/s3fs/theirs"
	wait_for 10 test -e "$MNT/theirs"
	assert_eq 705 "$(stat -c %a "$MNT/theirs")" "theirs"
	umount "$TEST_TMP/s3fs"
else
	echo "no s3fs: exchange with it is left out"
fi
vmofs_umount

# A copy-on-write child; the origin's own directories keep what is set while the mount lives.
cow_mount() { vmofs_mount s3://bucket "$MNT" -o "cow,object-metadata,cow-dir=$TEST_TMP/cow,cache-dir=$TEST_TMP/cache"; }
cow_mount
assert_eq "750 1600000000" "$(of "$MNT/tree/a")" "the origin's, in a child"
mkdir -m 701 "$MNT/own"
echo >"$MNT/own/file"
chmod 710 "$MNT/own"
touch -d @1200000000 "$MNT/own"
chmod 700 "$MNT/tree/a"
assert_eq 700 "$(stat -c %a "$MNT/tree/a")" "the origin's, changed in a child"
vmofs_umount
cow_mount
assert_eq "710 1200000000" "$(of "$MNT/own")" "made in a child, after a remount"
sleep 1
kill_mount
cow_mount
assert_eq "710 1200000000" "$(of "$MNT/own")" "made in a child, after kill -9"
assert_eq file "$(ls "$MNT/own")" "what is in it"
vmofs_umount
assert_eq 16872 "$(meta tree/a/ mode)" "the origin's"

# A local directory.
there=$TEST_TMP/there
mkdir -p "$there/old"
chmod 1751 "$there/old"
# What is stored later changes the time of the directory that it is in.
vmofs_mount "file://$there" "$MNT" -o "rw,close=sync,journal-dir=$JOURNAL,metadata-ttl=300ms"
assert_eq 1751 "$(stat -c %a "$MNT/old")" "a real one"
chmod 700 "$MNT/old"
touch -d @1100000000 "$MNT/old"
mkdir -m 711 "$MNT/new"
assert_eq "700 1100000000 711" "$(of "$there/old") $(stat -c %a "$there/new")" "of the directory below"
cp -a "$SRV/tree" "$MNT/cp" 2>"$TEST_TMP/said" || fail "cp -a fails"
assert_eq "" "$(cat "$TEST_TMP/said")" "what cp -a says"
sync_all
assert_eq "$(shown "$SRV/tree" | grep -v '^[^ ]*/[0-9] ')" "$(shown "$there/cp" | grep -v '^[^ ]*/[0-9] ')" "what is below"
