#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An object of a bucket that is not what its checksum says: that is known when all of it has been read, and then nothing
# that came before stays in the cache. The next mount asks the origin, and keeps it when it is right.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/cache.sh"
expect_log 'not those of the server.s checksum'

# Of an object of one request the answer has the checksum, of a larger one only HEAD.
make_object small 300000
make_object large 9000001
s3_start_moto
s3_mb bucket
s3_sync "$SRV" s3://bucket
s3_front "if (-f $TEST_TMP/wrong) { add_header x-amz-checksum-crc32 AAAAAA==; } proxy_hide_header x-amz-checksum-crc32;"
s3_env

mount_it() { cache_mount s3://bucket "$MNT" -o part-size=2M; }
# What the kernel has already it may still show: past that.
fails() { ! dd if="$MNT/$name" of=/dev/null bs=1M iflag=direct status=none 2>"$TEST_TMP/why"; }
kept() { cache_field url | grep -c . || :; }
gone() { [ "$(kept)" = 0 ]; }
for name in small large; do
	size=$(stat -c %s "$SRV/$name")
	: >"$TEST_TMP/wrong"
	mount_it
	wait_for 20 fails || fail "$name, which is not what the checksum says, is read"
	grep -qi 'bad message\|input/output' "$TEST_TMP/why" || fail "$name fails otherwise: $(cat "$TEST_TMP/why")"
	wait_for 20 gone || fail "what is not to be trusted stays in the cache: $("$VMOFS" cache ls "$CACHE")"
	assert_eq 0 "$(find "$CACHE" -name '*.data' | wc -l)" "files of contents"
	vmofs_umount
	gone || fail "$name is in the cache after the unmount"

	rm "$TEST_TMP/wrong"
	s3_mark
	mount_it
	assert_same_file "$SRV/$name" "$MNT/$name"
	assert_eq 0 "$(vmofs_stat cache.hits)" "pages of $name from the cache, by the second mount"
	assert_between "$size" "$(vmofs_stat bytes_fetched)" $((2 * size)) "bytes fetched by the second mount"
	vmofs_umount
	assert_eq 1 "$(kept)" "entries, of what is right"

	mount_it
	assert_same_file "$SRV/$name" "$MNT/$name"
	assert_nothing_fetched
	vmofs_umount
	"$VMOFS" cache clear "$CACHE" >/dev/null
done
