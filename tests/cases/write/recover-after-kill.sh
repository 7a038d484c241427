#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# After kill -9 the next mount has what was in the journal before it is shown, tells of it, and stores it: new files, changed ones, cut
# ones, and one that the origin has changed meanwhile, which is in conflict and not overwritten.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

write_start
make_object old 2M
for key in old cut both gone; do
	s3_put "$SRV/old" "s3://bucket/d/$key"
done
write_mount "$MNT" write-age=1000s,fsync=local
# What is open is stored later, so they all stay open until the end has come.
python3 - "$MNT" "$TEST_TMP/written" <<'PY' &
import os, sys, time
def done(path, flags, *writes, size=None):
    f = os.open(sys.argv[1] + "/" + path, flags)
    if size is not None:
        os.ftruncate(f, size)
    for off, data in writes:
        os.pwrite(f, data, off)
    os.fsync(f)
    keep.append(f)
keep = []
os.makedirs(sys.argv[1] + "/made/here")
done("made/here/new", os.O_CREAT | os.O_WRONLY, (0, b"n" * 10000))
done("d/old", os.O_RDWR, (5000, b"five"), (2 << 20, b"tail"))
done("d/cut", os.O_RDWR, (6000, b"x"), size=5000)
done("d/both", os.O_RDWR | os.O_TRUNC, (0, b"mine"))
done("d/gone", os.O_RDWR, (0, b"gone"))
os.close(keep.pop())
os.unlink(sys.argv[1] + "/d/gone")
open(sys.argv[2], "w").close()
time.sleep(1000)
PY
writer=$!
PIDS="$PIDS $writer"
wait_for 30 test -e "$TEST_TMP/written" || fail "not all can be written"
cp "$SRV/old" "$TEST_TMP/old"
printf five | dd of="$TEST_TMP/old" bs=1 seek=5000 conv=notrunc status=none
printf tail >>"$TEST_TMP/old"
head -c 5000 "$SRV/old" >"$TEST_TMP/cut"
truncate -s 6000 "$TEST_TMP/cut"
printf x >>"$TEST_TMP/cut"
head -c 10000 /dev/zero | tr '\0' n >"$TEST_TMP/new"
printf mine >"$TEST_TMP/both"
kill_mount
end_pid "$writer"
assert_match "s3://bucket" "$("$VMOFS" recover --journal-dir="$JOURNAL")" "list of journals"
echo theirs | s3_put - s3://bucket/d/both

: >"$LOG"
write_mount "$MNT" write-age=1000s,fsync=local
assert_same_file "$TEST_TMP/new" "$MNT/made/here/new"
assert_same_file "$TEST_TMP/old" "$MNT/d/old"
assert_same_file "$TEST_TMP/cut" "$MNT/d/cut"
[ ! -e "$MNT/d/gone" ] || fail "what was removed is there again"
for key in made/here/new d/old d/cut; do
	grep -q "the journal has '$key'" "$LOG" || fail "the log does not tell of '$key'"
done
grep -q 'changed files were recovered' "$LOG" || fail "the log does not tell how many"

# What was changed on both sides.
"$VMOFS" sync "$MNT" 2>"$TEST_TMP/said" && fail "sync works despite a conflict"
assert_match 'in conflict' "$(cat "$TEST_TMP/said")" "sync"
assert_match "conflict.*$MNT/d/both" "$("$VMOFS" conflicts "$MNT")" "conflicts"
assert_same_file "$TEST_TMP/both" "$MNT/d/both"
assert_text d/both theirs
assert_stored made/here/new "$TEST_TMP/new"
assert_stored d/old "$TEST_TMP/old"
assert_stored d/cut "$TEST_TMP/cut"

# A conflict survives as well, until it is resolved.
kill_mount
: >"$LOG"
write_mount "$MNT"
grep -q "'d/both'.*in conflict" "$LOG" || fail "the log does not tell of the conflict"
assert_match "conflict.*$MNT/d/both" "$("$VMOFS" conflicts "$MNT")" "conflicts after another kill"
"$VMOFS" resolve --save-as=d/mine "$MNT/d/both" || fail "resolve fails"
assert_stored d/mine "$TEST_TMP/both"
assert_text d/both theirs
assert_eq "" "$("$VMOFS" conflicts "$MNT")" "conflicts in the end"
assert_eq theirs "$(cat "$MNT/d/both")" "the origin's version is shown"
vmofs_umount
assert_eq "" "$("$VMOFS" recover --journal-dir="$JOURNAL")" "journals in the end"
