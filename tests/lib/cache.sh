# SPDX-License-Identifier: Apache-2.0
#
# Mounts with a disk cache, disks for it that become full, break or lose power, and damage. For cases that have
# sourced common.sh.

CACHE=$TEST_TMP/cache

# cache_mount SOURCE [MOUNTPOINT [ARGUMENT...]]: with $CACHE. The kernel would read whole files past the daemon's
# counters, so passthrough is for those cases that ask for it.
cache_mount()
{
	source=$1 at=${2:-$MNT}
	shift; [ $# -eq 0 ] || shift
	vmofs_mount "$source" "$at" -o "cache-dir=$CACHE,cache-free=0,passthrough=no" "$@"
}

# Bytes of contents that came from the origin. A mount of one object asks for a byte to learn of its version.
assert_nothing_fetched() { assert_between 0 "$(vmofs_stat bytes_fetched "${1:-$MNT}")" 4096 "bytes fetched"; }

cache_is_written() { [ "$(vmofs_stat cache.backlog "${1:-$MNT}")" = 0 ]; }

cache_is_off() { [ "$(vmofs_stat cache.writing "${1:-$MNT}")" = False ]; }

# cache_field FIELD [URL]: of `vmofs cache ls --json`, one line for each entry (of URL)
cache_field()
{
	"$VMOFS" cache ls --json "$CACHE" | python3 -c '
import json, sys
for line in sys.stdin:
    v = json.loads(line)
    if len(sys.argv) < 3 or v["url"] == sys.argv[2]:
        print(v[sys.argv[1]])' "$@"
}

# Present bytes of all entries together.
cache_present() { cache_field present "$@" | awk '{ n += $1 } END { print n + 0 }'; }

# cache_damage FILE N SEED: changes one bit at each of N random places, none of them in a hole
cache_damage()
{
	python3 - "$@" <<'PY'
import os, random, sys
path, n, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
r = random.Random(seed)
fd = os.open(path, os.O_RDWR)
size = os.fstat(fd).st_size
pages = set()
while len(pages) < n:
    pages.add(r.randrange((size + 4095) // 4096))
for p in pages:
    off = min(p * 4096 + r.randrange(4096), size - 1)
    old = os.pread(fd, 1, off)[0]
    os.pwrite(fd, bytes([old ^ 1 << r.randrange(8)]), off)
PY
}

# Reads it in pieces of random length at random places too, and compares.
assert_same_at_random() # A B SEED [READS]
{
	python3 - "$@" <<'PY'
import os, random, sys
r = random.Random(int(sys.argv[3]))
a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:3])
size = os.fstat(b).st_size
for _ in range(int(sys.argv[4]) if len(sys.argv) > 4 else 200):
    off, n = r.randrange(size), r.randrange(1, 200000)
    if os.pread(a, n, off) != os.pread(b, n, off):
        sys.exit("wrong bytes in [%d, %d)" % (off, off + n))
PY
}

# ---- disks ----

# disk_start SIZE: an ext4 of its own at $DISK, with $CACHE in it; its contents are in $DISK_IMAGE
disk_start()
{
	need_root
	need mkfs.ext4
	DISK=$TEST_TMP/disk
	DISK_IMAGE=${DISK_IMAGE:-$TEST_TMP/disk.img}
	CACHE=$DISK/cache
	DISK_IS_CUT=
	mkdir -p "$DISK"
	truncate -s "$1" "$DISK_IMAGE"
	mkfs.ext4 -q -m 0 -E lazy_itable_init=0,nodiscard "$DISK_IMAGE" || fail "mkfs.ext4 fails"
	at_end 'mountpoint -q "$DISK" && umount -l "$DISK"'
	disk_mount
}

# After a power cut from a copy: other mount namespaces may hold the dead file system for a while, and a
# mount of the same device would be that one.
disk_mount()
{
	if [ -n "$DISK_IS_CUT" ]; then
		cp --sparse=always "$DISK_IMAGE" "$DISK_IMAGE.copy"
		mv "$DISK_IMAGE.copy" "$DISK_IMAGE"
		DISK_IS_CUT=
	fi
	mount -o loop "$DISK_IMAGE" "$DISK" || skip "there are no loop devices"
}

# Who cleans up the cache or writes to it may still be there for a moment.
disk_umount() { wait_for 20 umount "$DISK" 2>/dev/null || fail "'$DISK' is in use"; }

# As if the power had gone: what the file system has not written is lost, every call on it fails with EIO from now on.
disk_cut()
{
	DISK_IS_CUT=yes
	python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$DISK"
}
