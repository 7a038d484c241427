#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# TIMEOUT: 300
# A new file that is written from its beginning to its end goes up while it is written: each byte once, nothing is seen before the store,
# and what is changed, cut, removed or renamed meanwhile is as it would be otherwise. No upload is left behind, not even by kill -9.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

PART=5242880
SIZE=40000000
SERVER=${1:-moto}
write_start "$SERVER"
write_mount "$MNT" write-age=600s,upload-part=5M
head -c $SIZE /dev/urandom >"$TEST_TMP/data"

# hold NAME [BYTES]: as many bytes are written to a file that stays open until let_go; sets HOLDER
hold()
{
	rm -f "$TEST_TMP/go" "$TEST_TMP/written"
	python3 - "$MNT/$1" "$TEST_TMP" "${2:-$SIZE}" <<'PY' &
import os, sys, time
path, tmp, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(f"{tmp}/data", "rb") as source, open(path, "wb", buffering=0) as f:
    left = size
    while left:
        left -= f.write(source.read(min(left, 1 << 20)))
    open(f"{tmp}/written", "w").close()
    while not os.path.exists(f"{tmp}/go"):
        time.sleep(0.02)
PY
	HOLDER=$!
	wait_for 60 test -e "$TEST_TMP/written" || fail "it is not written"
}
let_go()
{
	: >"$TEST_TMP/go"
	wait "$HOLDER" || :
}
# Only of moto: radosgw lists no uploads.
n_uploads() { s3 uploads bucket | wc -l; }
is_sending() { [ "$(n_uploads)" = 1 ]; }
is_ended() { [ "$(n_uploads)" = 0 ]; }
stored_bytes() { vmofs_stat write.bytes_up; }

# Each byte once, and nothing is seen before.
before=$(stored_bytes)
hold plain
is_absent plain || fail "it is seen before it is stored"
let_go
sync_all
assert_stored plain "$TEST_TMP/data"
assert_eq $SIZE $(($(stored_bytes) - before)) "bytes up"

# A part that had gone is changed: it goes again, and no other.
before=$(stored_bytes)
hold changed
sleep 1
printf changed | dd of="$MNT/changed" bs=1 seek=$((PART + 1000)) conv=notrunc status=none
let_go
sync_all
cp "$TEST_TMP/data" "$TEST_TMP/changed"
printf changed | dd of="$TEST_TMP/changed" bs=1 seek=$((PART + 1000)) conv=notrunc status=none
assert_stored changed "$TEST_TMP/changed"
assert_between $SIZE $(($(stored_bytes) - before)) $((SIZE + PART)) "bytes up, one part changed"

# Cut, and written on.
hold cut
truncate -s 12345678 "$MNT/cut"
head -c 9000000 "$TEST_TMP/data" >>"$MNT/cut"
let_go
sync_all
{ head -c 12345678 "$TEST_TMP/data"; head -c 9000000 "$TEST_TMP/data"; } >"$TEST_TMP/cut"
assert_stored cut "$TEST_TMP/cut"

# Another name.
hold renamed
mv "$MNT/renamed" "$MNT/new name"
let_go
sync_all
assert_stored "new name" "$TEST_TMP/data"
is_absent renamed || fail "the old name is there"

# Attributes that are set after the first parts have gone.
hold attributes
chmod 640 "$MNT/attributes"
touch -d '2001-02-03 04:05:06 UTC' "$MNT/attributes"
let_go
sync_all
assert_stored attributes "$TEST_TMP/data"
assert_eq "640 981173106" "$(stat -c '%a %Y' "$MNT/attributes")" "attributes"
s3 head s3://bucket/attributes >"$TEST_TMP/head"
grep -q 'meta-mode: 33184' "$TEST_TMP/head" || fail "another mode: $(cat "$TEST_TMP/head")"
grep -q 'meta-mtime: 981173106' "$TEST_TMP/head" || fail "another mtime: $(cat "$TEST_TMP/head")"

if [ "$SERVER" = moto ]; then
	is_ended || fail "uploads are left: $(s3 uploads bucket)"
	hold removed
	wait_for 20 is_sending || fail "nothing is sent ahead"
	rm "$MNT/removed"
	wait_for 20 is_ended || fail "the upload of a removed file stays"
	let_go
	# Killed in the middle: the next mount's first upload aborts what is left.
	hold killed
	wait_for 20 is_sending || fail "nothing is sent ahead"
	kill_mount
	let_go
	write_mount "$MNT" write-age=600s,upload-part=5M
	head -c 20000000 "$TEST_TMP/data" >"$MNT/next"
	sync_all
	wait_for 20 is_ended || fail "uploads are left after kill -9: $(s3 uploads bucket)"
fi
vmofs_umount
