#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Somebody else replaces an object that is changed here: nothing is overwritten, fsync says ESTALE, what was written here stays and can
# be read, is listed, and one of three decisions ends it. What was read of the old version before is kept with it; the rest is gone.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'conflict|changed|ESTALE|412|PreconditionFailed'

write_start
names="local remote other gone new part"
for f in $names; do
	[ $f = new ] || { echo "base of $f"; head -c 100000 /dev/zero; } | s3_put - "s3://bucket/$f"
done
write_mount "$MNT" write-age=600s
python3 - "$MNT" "$TEST_TMP" "$S3_CLIENT" $names <<'PY' || fail "see above"
import errno, os, subprocess, sys, time
mnt, tmp, client, names = sys.argv[1], sys.argv[2], sys.argv[3].split(), sys.argv[4:]
for name in names:
    with open(f"{mnt}/{name}", "a+" if name == "new" else "r+") as f:
        f.seek(0)
        assert f.readline() in (f"base of {name}\n", ""), name
        if name != "part":
            f.read()
        f.seek(0)
        f.write(f"mine {name}\n")
        f.flush()
        if name == "gone":
            subprocess.run([*client, "rm", f"s3://bucket/{name}"], check=True)
        else:
            subprocess.run([*client, "put", "-", f"s3://bucket/{name}"], input=f"theirs {name}\n".encode(), check=True)
        for _ in range(2):
            try:
                os.fsync(f.fileno())
                sys.exit(f"fsync of {name} works")
            except OSError as e:
                if e.errno != errno.ESTALE:
                    sys.exit(f"fsync of {name}: {e}")
            break
        f.seek(0)
        assert f.readline() == f"mine {name}\n", "what was written here is gone"
PY
for f in $names; do
	[ $f = gone ] || assert_text $f "theirs $f"
	assert_eq "mine $f" "$(head -n 1 "$MNT/$f" | tr -d '\0')" "what is here"
done
is_absent gone || fail "what was removed has been made again"
"$VMOFS" conflicts "$MNT" >"$TEST_TMP/list" || :
for f in $names; do
	grep -q "$f" "$TEST_TMP/list" || fail "vmofs conflicts does not tell of $f: $(cat "$TEST_TMP/list")"
done
assert_eq 6 "$(vmofs_stat write.conflicts)" "conflicts"

# Nothing of it is lost with the daemon, nor decided by its end.
kill_mount
write_mount "$MNT" write-age=600s
for f in $names; do
	assert_eq "mine $f" "$(head -n 1 "$MNT/$f" | tr -d '\0')" "what is here after a crash"
done
assert_eq 6 "$(vmofs_stat write.conflicts)" "conflicts after a crash"

"$VMOFS" resolve --keep-local "$MNT/local" || fail "--keep-local"
"$VMOFS" resolve --keep-local "$MNT/gone" || fail "--keep-local of one that was removed"
"$VMOFS" resolve --keep-remote "$MNT/remote" || fail "--keep-remote"
# What nobody has any more cannot be stored; nothing is, and that is said.
assert_fails 'cannot be read any more' "$VMOFS" resolve --keep-local "$MNT/part"
assert_fails 'cannot be read any more' "$VMOFS" resolve --save-as saved/part "$MNT/part"
is_absent saved/part || fail "a part of it has been stored"
assert_text part "theirs part"
assert_eq "mine part" "$(head -n 1 "$MNT/part" | tr -d '\0')" "what is here"
assert_fails 'Stale' cat "$MNT/part"
"$VMOFS" resolve --keep-remote "$MNT/part" || fail "--keep-remote of what is not all here"
assert_fails 'exists|there is' "$VMOFS" resolve --save-as local "$MNT/other"
"$VMOFS" resolve --save-as saved/elsewhere "$MNT/other" || fail "--save-as"
assert_fails 'conflict' "$VMOFS" resolve --keep-local "$MNT/remote"
assert_eq 1 "$(vmofs_stat write.conflicts)" "conflicts that are left"
sync_some() { "$VMOFS" sync "$MNT/$1" || fail "vmofs sync of $1"; }
sync_some local
sync_some gone
for f in local gone; do
	fetch $f
	assert_eq "mine $f" "$(head -n 1 "$TEST_TMP/fetched")" "$f in the bucket"
	assert_eq $((100000 + 8 + ${#f} + 1)) "$(stat -c %s "$TEST_TMP/fetched")" "size of $f in the bucket"
	assert_same_file "$TEST_TMP/fetched" "$MNT/$f"
done
assert_text remote "theirs remote"
assert_text other "theirs other"
fetch saved/elsewhere
assert_eq "mine other" "$(head -n 1 "$TEST_TMP/fetched" | tr -d '\0')" "what was saved elsewhere"
theirs() { [ "$(cat "$MNT/$1")" = "theirs $1" ]; }
wait_for 5 theirs remote || fail "the origin's version is not shown: $(head -c 50 "$MNT/remote")"
wait_for 5 theirs other || fail "the origin's version is not shown"
assert_eq "mine other" "$(head -n 1 "$MNT/saved/elsewhere" | tr -d '\0')"
# They can be written again.
echo again >"$MNT/remote"
"$VMOFS" sync "$MNT/remote"
assert_text remote again
# The mount ends with one conflict left, and says so; the next one has it.
"$VMOFS" umount "$MNT" >"$TEST_TMP/said" 2>&1 || :
wait_for 10 eval '! is_mounted' || fail "the mount does not end: $(cat "$TEST_TMP/said")"
assert_text new "theirs new"
write_mount
assert_eq "mine new" "$(cat "$MNT/new")"
"$VMOFS" resolve --keep-local "$MNT/new"
sync_all
assert_text new "mine new"
