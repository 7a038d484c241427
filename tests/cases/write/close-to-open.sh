#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# Two mounts of one bucket: what one has closed and stored, the other sees when it opens the file, whole, and never a mixture.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

write_start
other=$TEST_TMP/other
mkdir "$other"
write_mount "$MNT" close=sync,metadata-ttl=0,negative-ttl=0
write_mount "$other" close=sync,metadata-ttl=0,negative-ttl=0
for i in $(seq 20); do
	from=$MNT to=$other
	[ $((i % 2)) -eq 0 ] || { from=$other to=$MNT; }
	echo "round $i of a text" >"$from/text"
	assert_eq "round $i of a text" "$(cat "$to/text")" "round $i"
	seq $((i * 1000)) >"$from/numbers"
	assert_same_file "$from/numbers" "$to/numbers"
	assert_eq "$(stat -c %s "$from/numbers")" "$(stat -c %s "$to/numbers")" "size in round $i"
done
echo tail >>"$MNT/text"
assert_eq "round 20 of a text tail" "$(tr '\n' ' ' <"$other/text" | sed 's/ $//')" "an append to what the other wrote"
mv "$MNT/text" "$MNT/moved"
assert_eq "tail" "$(tail -n 1 "$other/moved")" "a new name"
assert_errno ENOENT cat "$other/text"
rm "$other/moved"
assert_errno ENOENT cat "$MNT/moved"

# With fsync instead of a waiting close.
umount "$other"
write_mount "$other" metadata-ttl=0,negative-ttl=0
python3 - "$other/synced" "$MNT/synced" <<'PY'
import os, sys
with open(sys.argv[1], "w") as f:
    for i in range(10):
        f.seek(0)
        f.write("%06d\n" % i * 1000)
        f.flush()
        os.fsync(f.fileno())
        with open(sys.argv[2]) as g:
            got = g.read()
        if got != "%06d\n" % i * 1000:
            sys.exit(f"round {i}: {got[:14]!r}, {len(got)} bytes")
PY
vmofs_umount "$other"
