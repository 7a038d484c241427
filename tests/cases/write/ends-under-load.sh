#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A mount ends while writers wait for room, files are removed and the server does not answer: by a signal, by an aborted
# connection. The daemon goes, and what was written and synced before is found again.
# FLAVOURS: asan
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

expect_log 'not stored|cannot|gives up|on signal|No space|aborted|lost|Connection|timed out|TIMEOUT'
write_start

cat >"$TEST_TMP/busy.py" <<'PY'
import os, sys, threading
os.chdir(sys.argv[1])
def keep(name, text):
    fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, text * 1000)
    os.fsync(fd)
    os.close(fd)
for i in range(4):
    keep(f"kept{i}", b"kept %d\n" % i)
    keep(f"victim{i}", b"victim %d\n" % i)
# Names are looked for at the server, so they are there before it stops.
large = [os.open(f"large{i}", os.O_WRONLY | os.O_CREAT, 0o644) for i in range(4)]
print("kept", flush=True)
sys.stdin.readline()
def write(i):
    try:
        while True:
            os.write(large[i], b"x" * 300000)
    except OSError:
        pass
def remove(i):
    try:
        os.unlink(f"victim{i}")
    except OSError:
        pass
ts = [threading.Thread(target=f, args=(i,), daemon=True) for i in range(4) for f in (write, remove)]
for t in ts: t.start()
print("busy", flush=True)
for t in ts: t.join()
PY

# ended HOW...: the mount ends by that while all of it goes on
ended()
{
	write_mount "$MNT" dirty-limit=1M,timeout=5s,fsync=local,write-age=1h
	pid=$(vmofs_pid "$MNT")
	device=$(mountpoint -d "$MNT")
	coproc python3 "$TEST_TMP/busy.py" "$MNT"
	busy=$COPROC_PID
	read -r _ <&"${COPROC[0]}" || fail "the work has ended"
	kill -STOP "$S3_PID"
	echo >&"${COPROC[1]}"
	read -r _ <&"${COPROC[0]}" || fail "the work has ended"
	wait_for 20 some_wait || fail "nobody waits for room"
	"$@"
	# Who unmounts has all stored, for a minute; a signal has less patience.
	if [ "$1" != by_signal ]; then
		wait_for 20 grep -q 'storing [0-9]* changed files' "$LOG" || fail "nothing is stored after: $*"
		kill -CONT "$S3_PID"
	fi
	wait_for 60 is_gone "$pid" || fail "the daemon is still there after: $*"
	kill -9 "$busy" 2>/dev/null || :
	wait "$busy" 2>/dev/null || :
	! mountpoint -q "$MNT" || umount -l "$MNT"
	kill -CONT "$S3_PID"
	write_mount
	sync_all
	for i in 0 1 2 3; do
		for _ in $(seq 1000); do echo "kept $i"; done >"$TEST_TMP/kept"
		assert_same_file "$TEST_TMP/kept" "$MNT/kept$i"
		assert_stored "kept$i" "$TEST_TMP/kept"
	done
	rm -f "$MNT"/*
	vmofs_umount
}

some_wait() { [ "$(vmofs_stat write.waits)" -gt 0 ]; }
by_signal() { kill -TERM "$pid"; }
by_abort() { echo 1 >"/sys/fs/fuse/connections/${device#*:}/abort" || fail "no connection $device"; }

ended by_signal
! mountpoint -q /sys/fs/fuse/connections || ended by_abort
