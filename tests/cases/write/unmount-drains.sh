#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 240
# The end of a mount: vmofs umount stores everything first, or leaves it to the journal when told so or when time is over; what the
# kernel unmounts, and a signal, do the same by themselves. Nothing is lost in any of them.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

expect_log 'cannot be reached|timed out|no answer'
write_start
# Nobody asks the server for a name, which may not answer.
slow=write-age=1000s,metadata-ttl=10m
make_object data 3M
wrote() # KEY: a copy of data, and a line, closed just now
{
	cp "$SRV/data" "$MNT/$1"
	echo "and $1" >>"$MNT/$1"
	cp "$SRV/data" "$TEST_TMP/want.$1"
	echo "and $1" >>"$TEST_TMP/want.$1"
}

# Stored before the mount is gone.
write_mount "$MNT" "$slow"
wrote a
vmofs_umount || fail "umount fails"
assert_stored a "$TEST_TMP/want.a"

# As the kernel does it: nobody waits, and it is stored all the same.
write_mount "$MNT" "$slow"
pid=$(vmofs_pid)
wrote b
fusermount3 -u "$MNT"
wait_for 60 is_gone "$pid" || fail "the daemon does not end"
assert_stored b "$TEST_TMP/want.b"

# A signal.
write_mount "$MNT" "$slow"
pid=$(vmofs_pid)
wrote c
kill -TERM "$pid"
wait_for 60 is_gone "$pid" || fail "the daemon does not end on SIGTERM"
assert_stored c "$TEST_TMP/want.c"

# In use: still mounted, nothing is lost, and a later end is as usual.
write_mount "$MNT" "$slow"
exec 7>"$MNT/used"
echo text >&7
assert_fails 'in use|busy|could not unmount' "$VMOFS" umount "$MNT"
echo more >&7
exec 7>&-
vmofs_umount || fail "umount after the last close fails"
assert_eq "text more" "$(fetch used && tr '\n' ' ' <"$TEST_TMP/fetched" | sed 's/ $//')" "used"

# The server does not answer: with --keep at once, with --timeout in time; the next mount has it and stores it.
for how in --keep --timeout=1; do
	write_mount "$MNT" "$slow,timeout=3s"
	pid=$(vmofs_pid)
	key=left$how
	: >"$MNT/$key"
	sync_all
	kill -STOP "$S3_PID"
	wrote "$key"
	status=0
	"$VMOFS" umount $how "$MNT" 2>"$TEST_TMP/said" || status=$?
	assert_match 'waits in the journal' "$(cat "$TEST_TMP/said")" "$how"
	assert_eq "$([ $how = --keep ] && echo 0 || echo 1)" $status "status of $how"
	! is_mounted || fail "$how: still mounted"
	is_gone "$pid" || fail "$how: the daemon lives on"
	assert_match "1 +[0-9.]+ MiB +s3://bucket" "$("$VMOFS" recover --journal-dir="$JOURNAL")" "list of journals"
	kill -CONT "$S3_PID"
	write_mount "$MNT" "$slow"
	assert_same_file "$TEST_TMP/want.$key" "$MNT/$key"
	sync_all
	assert_stored "$key" "$TEST_TMP/want.$key"
	vmofs_umount
	assert_eq "" "$("$VMOFS" recover --journal-dir="$JOURNAL")" "journals in the end"
done

# A second signal does not wait for a server that does not answer.
write_mount "$MNT" "$slow"
pid=$(vmofs_pid)
: >"$MNT/d"
sync_all
kill -STOP "$S3_PID"
wrote d
kill -TERM "$pid"
kill -INT "$pid" 2>/dev/null || :
wait_for 60 is_gone "$pid" || fail "the daemon does not end on two signals"
kill -CONT "$S3_PID"

# And without a mount.
assert_match '1 files found, 0 of them not stored' "$("$VMOFS" recover -o "journal-dir=$JOURNAL" s3://bucket)" "recover"
assert_stored d "$TEST_TMP/want.d"

# Without a journal it stays mounted as long as something would be lost.
write_mount "$MNT" "$slow,journal-dir=none,timeout=3s"
: >"$MNT/e"
sync_all
kill -STOP "$S3_PID"
wrote e
assert_fails 'still mounted.*lost.*no journal' "$VMOFS" umount --timeout=1 "$MNT"
is_mounted || fail "unmounted without a journal"
kill -CONT "$S3_PID"
vmofs_umount || fail "umount of a server that answers again"
assert_stored e "$TEST_TMP/want.e"
