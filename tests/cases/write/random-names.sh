#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 300
# Random makings, writings, renames, removals of files and directories by four processes, each done to a local directory too: the same
# answers, the same tree; after kill -9 of a quiet mount too, in the bucket, and in the next mount. OPERATIONS (600) a process and round, SERVER (moto) or radosgw.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"
expect_log 'journal|recover'

OPERATIONS=${OPERATIONS:-600}
case $TEST_FLAVOUR in asan) OPERATIONS=$((OPERATIONS / 4)) ;; tsan) OPERATIONS=$((OPERATIONS / 8)) ;; esac
seed=${SEED:-$(($(date +%s) % 100000))}
native=$TEST_TMP/native
mkdir "$native"
cat >"$TEST_TMP/names.py" <<'PY'
import errno, os, random, shutil, sys
mnt, native, n_ops, seed, who = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
r = random.Random(seed * 10 + who)
top = f"p{who}"
NAMES = ["a", "b", "c", "d.txt", "e f", "100%"]
held = []  # (path, mount's file, local file): open while their names change
log = []
def tell(*paths):  # how it came to this
    print("\n".join(t for t in log[:-12] if any(p in t for p in paths)), "...", *log[-12:], sep="\n")
def path():
    return "/".join([top] + [r.choice(["x", "y"]) for _ in range(r.choice([0, 0, 1, 1, 2]))])
def name():
    return path() + "/" + r.choice(NAMES)
def both(what, fn, *paths, more=()):
    got = []
    for base in (mnt, native):
        try:
            got.append((0, fn(*(f"{base}/{p}" for p in paths), *more)))
        except OSError as e:
            got.append((e.errno, None))
    log.append(f"{what} {paths} {more!r:.40}: {errno.errorcode.get(got[1][0], 'ok')}")
    same = got[0] == got[1] or {got[0][0], got[1][0]} <= {errno.EEXIST, errno.ENOTEMPTY}
    if not same:
        tell(*paths)
        sys.exit(f"process {who}, seed {seed}: {what} {paths}: the mount has {got[0]!r:.200}, a local directory {got[1]!r:.200}")
    return got[0]
def write(p, text, flags):
    fd = os.open(p, flags, 0o644)
    try:
        return os.write(fd, text)
    finally:
        os.close(fd)
def read(p):
    with open(p, "rb") as f:
        return f.read()
def make():
    text = os.urandom(1) * r.choice([1, 100, 5000, 70000])
    both("write", write, name(), more=(text, os.O_WRONLY | os.O_CREAT | r.choice([0, os.O_TRUNC, os.O_APPEND, os.O_EXCL])))
def rename():
    a, b = name(), name()
    # What has something in it cannot be renamed here.
    for p in (a, b):
        if os.path.isdir(f"{native}/{p}") and os.listdir(f"{native}/{p}"):
            return
    both("rename", os.rename, a, b)
def hold():
    p = name()
    try:
        held.append((p, open(f"{mnt}/{p}", "r+b", buffering=0), open(f"{native}/{p}", "r+b", buffering=0)))
        log.append(f"hold {p}")
    except OSError:
        pass
def use():
    if held:
        p, *files = r.choice(held)
        text, off = os.urandom(1) * r.choice([1, 3000, 20000]), r.randrange(30000)
        got = []
        log.append(f"use {p}")
        for f in files:
            try:
                f.seek(off)
                f.write(text)
                if text < b"\x40":
                    f.truncate(off // 2)
                f.seek(0)
                got.append(f.read())
            except OSError as e:
                got.append(str(e).encode())
        if got[0] != got[1]:
            tell(p)
            sys.exit(f"process {who}, seed {seed}: '{p}', held open, has other bytes than a local one: {len(got[0])} and {len(got[1])}")
def drop():
    while len(held) > r.randrange(4):
        p, *files = held.pop(r.randrange(len(held)))
        log.append(f"drop {p}")
        for f in files:
            f.close()
def sync():
    if held:
        p, *files = r.choice(held)
        log.append(f"sync {p}")
        for f in files:
            os.fsync(f.fileno())
OPS = [(make, 12), (rename, 8), (hold, 5), (use, 6), (drop, 4), (sync, 1),
       (lambda: both("unlink", os.unlink, name()), 5),
       (lambda: both("mkdir", os.mkdir, path()), 3), (lambda: both("mkdir", os.mkdir, name()), 1),
       (lambda: both("rmdir", os.rmdir, r.choice([path, name])()), 3),
       (lambda: both("read", read, name()), 5), (lambda: both("list", lambda p: sorted(os.listdir(p)), path()), 4),
       (lambda: both("truncate", os.truncate, name(), more=(r.randrange(60000),)), 3),
       (lambda: both("symlink", lambda p: os.symlink("target", p), name()), 1),
       (lambda: both("size", lambda p: os.path.isfile(p) and os.stat(p).st_size, name()), 4)]
for base in (mnt, native):
    os.makedirs(f"{base}/{top}", exist_ok=True)
for _ in range(n_ops):
    r.choices([op for op, _ in OPS], [w for _, w in OPS])[0]()
for _, *files in held:
    for f in files:
        f.close()
PY

in_bucket() # the files of the bucket are those of the local directory
{
	(cd "$native" && find . -type f -printf '%s %P\n' | LC_ALL=C sort) >"$TEST_TMP/want"
	s3 ls s3://bucket/ | grep -v '/$' | LC_ALL=C sort >"$TEST_TMP/got"
	(cd "$native" && find . -type l -printf '%P\n') >"$TEST_TMP/links"
	awk 'FILENAME == ARGV[1] { link[$0] = 1; next } { key = $0; sub(/^[0-9]* /, "", key) } !(key in link)' "$TEST_TMP/links" "$TEST_TMP/got" | diff "$TEST_TMP/want" - >&2
}

echo "seed $seed"
write_start "${SERVER:-moto}"
for round in 1 2 3; do
	options=$(sed -n "$round"p <<-OPTIONS
		write-age=100ms,object-metadata
		write-age=1s,object-metadata,fsync=local
		write-age=600s,object-metadata,dirty-limit=1M
	OPTIONS
	)
	write_mount "$MNT" "$options"
	running=
	for who in 0 1 2 3; do
		python3 "$TEST_TMP/names.py" "$MNT" "$native" "$OPERATIONS" $((seed + round)) $who & running="$running $!"
	done
	for pid in $running; do
		wait "$pid" || fail "see above ($options)"
	done
	assert_same_tree "$native"
	if [ $round -ge 2 ]; then
		sleep $((3 * SLOW)) # so old is what survives the daemon
		kill_mount
		write_mount "$MNT" "$options"
		assert_same_tree "$native"
	fi
	sync_all
	in_bucket || fail "the bucket has something else ($options)"
	vmofs_umount
	write_mount "$MNT" "$options"
	assert_same_tree "$native"
	vmofs_umount
done
