#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A mapping of a file that the kernel reads itself is right for as long as it lives: whatever makes room meanwhile, the
# mount, a command or another mount of the directory, and also after the daemon has gone.
# TIMEOUT: 240
. "$TEST_LIB/common.sh"
need_root
need python3

CACHE=$TEST_TMP/cache
make_object f 9M
make_object other 12M
nginx_start

mount_it() # OBJECT MOUNTPOINT [OPTIONS]
{
	mkdir -p "$2"
	vmofs_mount "$NGINX_URL/$1" "$2" -o "cache-dir=$CACHE,cache-free=0,cache-size=10M${3:+,$3}"
}
# A mount may be at it just now.
gc() { wait_for 20 "$VMOFS" cache gc "$CACHE" >/dev/null 2>"$TEST_TMP/gc.log" || fail "gc fails: $(cat "$TEST_TMP/gc.log")"; }

mount_it f "$MNT"
grep "no passthrough" "$LOG" && skip "$(sed -n 's/.*no passthrough, files are read through the daemon: //p' "$LOG" | head -n 1)"
assert_same_file "$SRV/f" "$MNT/f"
opens_through() { head -c 1 "$MNT/f" >/dev/null && [ "$(vmofs_stat passthrough)" -gt 0 ]; }
wait_for 30 opens_through || fail "the file is not read by the kernel itself"

# Maps it, closes it, and compares when it is told to.
cat >"$TEST_TMP/mapped.py" <<'PY'
import mmap, os, sys
want = open(sys.argv[2], "rb").read()
f = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(f, len(want), prot=mmap.PROT_READ)
os.close(f)
print("mapped", flush=True)
for line in sys.stdin:
    print("right" if m[:] == want else "wrong", flush=True)
PY
mkfifo "$TEST_TMP/ask"
python3 "$TEST_TMP/mapped.py" "$MNT/f" "$SRV/f" <"$TEST_TMP/ask" >"$TEST_TMP/said" &
PIDS="$PIDS $!"
exec 9>"$TEST_TMP/ask"
wait_for 20 grep -q mapped "$TEST_TMP/said" || fail "it cannot be mapped"
asked=0
is_right() # AFTER
{
	asked=$((asked + 1))
	echo >&9
	wait_for 60 eval '[ "$(wc -l <"$TEST_TMP/said")" -gt $asked ]' || fail "no answer $1"
	assert_eq right "$(tail -n 1 "$TEST_TMP/said")" "the mapping, $1"
}
is_right "at first"

"$VMOFS" evict "$MNT" >/dev/null
gc
is_right "after evict and gc"
# Another mount needs the place.
mount_it other "$TEST_TMP/mnt2"
cat "$TEST_TMP/mnt2/other" | cmp - "$SRV/other"
gc
is_right "after another mount has filled the cache"
pid=$(vmofs_pid)
"$VMOFS" umount --lazy "$MNT" 2>/dev/null || umount -l "$MNT"
wait_for 30 is_gone "$pid" || kill -9 "$pid"
"$VMOFS" evict "$TEST_TMP/mnt2" >/dev/null
cat "$TEST_TMP/mnt2/other" | cmp - "$SRV/other"
"$VMOFS" cache clear "$CACHE" >/dev/null
is_right "when its mount has gone"
exec 9>&-
vmofs_umount "$TEST_TMP/mnt2"
