#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Requests by io_uring: same bytes, from memory and from the origin, by many at once; the mount ends cleanly while some wait.
# TIMEOUT: 180
. "$TEST_LIB/common.sh"
need_root
need python3

SWITCH=/sys/module/fuse/parameters/enable_uring
[ -w $SWITCH ] || skip "this kernel has no FUSE over io_uring"
was=$(cat $SWITCH)
put_back() { echo "$was" >$SWITCH; clean_up; }
trap put_back EXIT

make_object data.bin 20000000
nginx_start
vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o io-uring=yes
! grep "no io_uring" "$LOG" || skip "$(sed -n 's/.*no io_uring, requests come through \/dev\/fuse: //p' "$LOG" | head -n 1)"
grep -l fuse-ring "/proc/$(vmofs_pid)"/task/*/comm >/dev/null || fail "there is no thread for a ring"

assert_same_file "$SRV/data.bin" "$MNT/data.bin"
python3 - "$MNT/data.bin" "$SRV/data.bin" <<'PY' || fail "wrong bytes"
import mmap, os, random, sys, threading
want = open(sys.argv[2], "rb").read()
bad = []
def reader(seed):
    rnd = random.Random(seed)
    f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
    buf = mmap.mmap(-1, 65536)
    for _ in range(300):
        off = rnd.randrange(len(want)) & ~4095
        n = os.preadv(f, [buf], off)
        if buf[:n] != want[off:off + n]:
            bad.append(off)
    os.close(f)
threads = [threading.Thread(target=reader, args=(i,)) for i in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not bad, bad
PY
assert_between 100 "$(vmofs_stat hits)" 1000000 "reads answered from memory"
vmofs_umount

# The server answers nobody: what waits ends with the mount.
vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o io-uring=auto
pid=$(vmofs_pid)
# shellcheck disable=SC2046  # a list of processes
kill -STOP $(nginx_processes)
for off in 1000000 5000000 9000000; do
	dd if="$MNT/data.bin" of=/dev/null bs=4096 count=1 skip=$off iflag=skip_bytes 2>/dev/null &
	readers="${readers:-} $!"
done
some_wait() { [ "$(vmofs_stat outstanding)" -gt 0 ]; }
wait_for 10 some_wait || fail "nobody waits"
kill "$pid"
for r in $readers; do
	wait "$r" && fail "a read works that nobody has answered" || :
done
wait_for 10 is_gone "$pid" || fail "the daemon does not end"
wait_for 10 sh -c "! findmnt -rn '$MNT' >/dev/null" || fail "it is still mounted"
# shellcheck disable=SC2046
kill -CONT $(nginx_processes)
