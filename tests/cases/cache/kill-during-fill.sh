#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 900
# FLAVOURS: gcc asan
# The daemon is killed while it fills the cache, again and again; what is left is right or dropped.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/cache.sh"
expect_log 'cache'

OBJECTS=10
ROUNDS=${ROUNDS:-200}
[ "$TEST_FLAVOUR" = gcc ] || ROUNDS=$((ROUNDS / 5))
total=0
for i in $(seq $OBJECTS); do
	size=$((i * 700000 + i))
	# Some are long enough for the index to be written while they are being filled.
	[ $((i % 3)) -ne 0 ] || size=$((30000000 + i * 3000000))
	make_object "$i.bin" $size
	total=$((total + size))
done
nginx_start

# Each round: a daemon, a reader, kill -9 after a random time. In every second one the daemon is about to end by
# itself, and writes what is left. In every fifth `vmofs cache verify` goes through the directory at the same time.
python3 - "$VMOFS" "$NGINX_URL" "$MNT" "$CACHE" "$LOG" "$OBJECTS" "$ROUNDS" "$SLOW" <<'PY' || fail "a round went wrong"
import os, random, signal, subprocess, sys, threading, time
vmofs, url, mnt, cache, log = sys.argv[1:6]
objects, rounds, slow = (int(a) for a in sys.argv[6:])
r = random.Random()
said = open(log, "a")

def read(path, seed):
    p, fd = random.Random(seed), -1
    try:
        fd = os.open(path, os.O_RDONLY)
        size = os.fstat(fd).st_size
        while p.random() < 0.3:
            os.pread(fd, p.randrange(1, 300000), p.randrange(size))
        for off in range(p.choice((0, 0, size // 3)), size, 1 << 20):
            os.pread(fd, 1 << 20, off)
    except OSError:
        pass
    finally:
        if fd >= 0:
            os.close(fd)

for i in range(rounds):
    n = r.randrange(objects) + 1
    free = os.stat(mnt).st_dev
    d = subprocess.Popen([vmofs, "mount", "-f", "-o", "cache-free=0,passthrough=no,log-level=warn,cache-dir=" + cache,
                          "%s/%d.bin" % (url, n), mnt], stdout=said, stderr=said)
    while os.stat(mnt).st_dev == free:
        if d.poll() is not None:
            sys.exit("round %d: the daemon ends with %d: %s" % (i, d.returncode, open(log).read()[-2000:]))
        time.sleep(0.002)
    t = threading.Thread(target=read, args=("%s/%d.bin" % (mnt, n), r.random()))
    t.start()
    others = []
    # So that there is something to fill, up to the end.
    if i % 15 == 7:
        others.append(subprocess.Popen([vmofs, "cache", "clear", "--url", "%s/%d.bin" % (url, r.randrange(objects) + 1), cache],
                                       stdout=said, stderr=said))
    if i % 5 == 0:
        others.append(subprocess.Popen([vmofs, "cache", "verify", cache], stdout=said, stderr=said))
    if i % 2:
        t.join(r.random() * slow)
        d.send_signal(signal.SIGTERM)
        time.sleep(r.random() * 0.06 * slow)
    else:
        time.sleep(r.random() * 0.3 * slow)
    d.kill()
    t.join()
    d.wait()
    for o in others:
        o.wait()
    subprocess.run(["umount", "-l", mnt] if os.getuid() == 0 else ["fusermount3", "-uz", mnt], stderr=said)
PY

# Neither everything nor nothing was there, or nothing has been tried.
present=$(cache_present)
assert_between 1000000 "$present" "$total" "bytes present after $ROUNDS kills"
hits=0
for i in $(seq $OBJECTS); do
	cache_mount "$NGINX_URL/$i.bin"
	assert_same_at_random "$MNT/$i.bin" "$SRV/$i.bin" "$i" 40
	assert_same_file "$SRV/$i.bin" "$MNT/$i.bin"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
	hits=$((hits + $(vmofs_stat cache.hits)))
	vmofs_umount
done
assert_between $((present / 4096 / 2)) $hits $((2 * present / 4096)) "pages that were used after the kills"
"$VMOFS" cache verify "$CACHE" || fail "something wrong was left"
for i in $(seq $OBJECTS); do
	cache_mount "$NGINX_URL/$i.bin"
	assert_same_file "$SRV/$i.bin" "$MNT/$i.bin"
	assert_nothing_fetched
	vmofs_umount
done
echo "$ROUNDS kills, $((present >> 20)) MiB of $((total >> 20)) left by them, $hits pages of that used"
