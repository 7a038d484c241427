#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# TIMEOUT: 300
# Programs that know nothing of objects work in a mount: git, sqlite3, tar, rsync, cp, dd, editors.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

write_start
write_mount
# Trees of the size of a small project.
mkdir -p "$SRV/tree/sub/deeper" "$SRV/tree/empty"
for i in $(seq 60); do
	seq $((i * i)) >"$SRV/tree/sub/file$i"
done
head -c 2500000 /dev/urandom >"$SRV/tree/sub/deeper/big"
printf 'text\n' >"$SRV/tree/with space & [brackets]"
mkdir "$TEST_TMP/local"

tool() { printf '%s' "$1: "; TOOL=$1; date +%s.%N >"$TEST_TMP/begin"; }
done_with() { awk -v b="$(cat "$TEST_TMP/begin")" -v e="$(date +%s.%N)" 'BEGIN { printf "%.1f s\n", e - b }'; }

tool "tar x"
tar cf "$TEST_TMP/tree.tar" -C "$SRV" tree
mkdir "$MNT/tar"
tar xf "$TEST_TMP/tree.tar" -C "$MNT/tar" --no-same-owner
assert_same_tree "$SRV/tree" "$MNT/tar/tree"
assert_eq "$(stat -c %Y "$SRV/tree/sub/file7")" "$(stat -c %Y "$MNT/tar/tree/sub/file7")" "mtime"
done_with

tool "cp -r, cp --reflink=auto, cp -p"
cp -r "$MNT/tar/tree" "$MNT/copied"
assert_same_tree "$SRV/tree" "$MNT/copied"
cp --reflink=auto "$MNT/copied/sub/deeper/big" "$MNT/reflinked"
cp -p "$MNT/copied/sub/deeper/big" "$MNT/kept"
assert_same_file "$SRV/tree/sub/deeper/big" "$MNT/reflinked"
assert_eq "$(stat -c %Y "$MNT/copied/sub/deeper/big")" "$(stat -c %Y "$MNT/kept")" "mtime of cp -p"
done_with

tool "dd conv=notrunc"
cp "$SRV/tree/sub/deeper/big" "$TEST_TMP/local/big"
for f in "$TEST_TMP/local/big" "$MNT/reflinked"; do
	seq 100000 | dd of="$f" bs=3001 seek=100 conv=notrunc status=none
	seq 100000 | dd of="$f" bs=64k seek=60 conv=notrunc,fsync status=none iflag=fullblock
done
assert_same_file "$TEST_TMP/local/big" "$MNT/reflinked"
done_with

tool "editors"
# vim: the old one aside, a new one, the old one away; emacs and most others: a temporary one, fsync, renamed over it.
for at in "$TEST_TMP/local" "$MNT"; do
	python3 - "$at" <<'PY'
import os, sys
os.chdir(sys.argv[1])
def write(name, text, sync=True):
    with open(name, "w") as f:
        f.write(text)
        f.flush()
        if sync:
            os.fsync(f.fileno())
write("vim", "first\n")
for i in range(5):
    probe = os.open("4913", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.fchmod(probe, 0o644)
    os.close(probe)
    os.unlink("4913")
    os.rename("vim", "vim~")
    write("vim", "vim %d\n" % i * (i + 1))
    os.unlink("vim~")
write("emacs", "first\n")
for i in range(5):
    write("#emacs#", "emacs %d\n" % i * 1000)
    os.rename("#emacs#", "emacs")
    assert open("emacs").read() == "emacs %d\n" % i * 1000
with open("patched", "w") as f:
    f.write("0123456789")
with open("patched", "r+") as f:
    f.seek(3); f.write("abc"); f.truncate(8)
PY
done
for f in vim emacs patched; do
	assert_same_file "$TEST_TMP/local/$f" "$MNT/$f"
done
[ ! -e "$MNT/vim~" ] && [ ! -e "$MNT/#emacs#" ] && [ ! -e "$MNT/4913" ] || fail "temporary files are left"
done_with

if command -v rsync >/dev/null; then
	tool "rsync -a, twice, and back"
	rsync -a "$SRV/tree/" "$MNT/rsynced/"
	assert_same_tree "$SRV/tree" "$MNT/rsynced"
	echo changed >"$SRV/tree/sub/file3"
	assert_eq "sub/file3" "$(rsync -a --out-format=%n "$SRV/tree/" "$MNT/rsynced/" | grep -v '/$' || :)" "what rsync copies the second time"
	rm "$SRV/tree/sub/file4"
	rsync -a --delete --inplace "$SRV/tree/" "$MNT/rsynced/"
	assert_same_tree "$SRV/tree" "$MNT/rsynced"
	done_with
fi

if command -v git >/dev/null; then
	tool "git init, add, commit, clone, gc"
	export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_NOSYSTEM=1
	git config --global safe.directory '*'
	git config --global init.defaultBranch main
	mkdir "$MNT/repo"
	cp -r "$SRV/tree/sub" "$MNT/repo/"
	git -C "$MNT/repo" init -q
	git -C "$MNT/repo" add .
	git -C "$MNT/repo" commit -qm first
	echo more >>"$MNT/repo/sub/file1"
	git -C "$MNT/repo" commit -qam second
	git -C "$MNT/repo" gc -q
	git -C "$MNT/repo" fsck --strict >&2 || fail "git fsck"
	git clone -q "$MNT/repo" "$TEST_TMP/local/repo"
	diff -r -x .git "$MNT/repo" "$TEST_TMP/local/repo" || fail "another tree from git"
	git clone -q --no-local "$TEST_TMP/local/repo" "$MNT/cloned"
	git -C "$MNT/cloned" fsck --strict >&2 || fail "git fsck of a clone into the mount"
	assert_eq "" "$(git -C "$MNT/cloned" status --porcelain)" "git status"
	done_with
fi

if command -v sqlite3 >/dev/null; then
	tool "sqlite3"
	for mode in delete wal truncate; do
		db=$MNT/$mode.db
		sqlite3 "$db" "PRAGMA journal_mode=$mode; CREATE TABLE t(i INTEGER PRIMARY KEY, s TEXT); CREATE INDEX x ON t(s);" >/dev/null
		for i in $(seq 10); do
			sqlite3 "$db" "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
				INSERT INTO t(s) SELECT 'row ' || $i || ' ' || i FROM n;"
		done
		sqlite3 "$db" "DELETE FROM t WHERE i % 3 = 0; BEGIN; DELETE FROM t; ROLLBACK; VACUUM;"
		assert_eq ok "$(sqlite3 "$db" 'PRAGMA integrity_check')" "sqlite3 in mode $mode"
		assert_eq 2000 "$(sqlite3 "$db" 'SELECT count(*) FROM t')" "rows in mode $mode"
	done
	done_with
fi

tool "all is in the bucket"
sync_all
fetch delete.db || fail "no database in the bucket"
if command -v sqlite3 >/dev/null; then
	assert_eq 2000 "$(sqlite3 "$TEST_TMP/fetched" 'SELECT count(*) FROM t')" "rows in the object"
fi
mkdir "$TEST_TMP/again"
vmofs_mount s3://bucket "$TEST_TMP/again"
assert_same_tree "$SRV/tree" "$TEST_TMP/again/$([ -e "$MNT/rsynced" ] && echo rsynced || echo copied)"
diff -r -x '*-shm' -x '*-wal' "$MNT" "$TEST_TMP/again" >&2 || fail "a new mount sees something else"
done_with
vmofs_umount "$TEST_TMP/again"
vmofs_umount
missing=
for t in rsync git sqlite3; do
	command -v $t >/dev/null || missing="$missing $t"
done
[ -z "$missing" ] || skip "without$missing, which are not installed, all is well"
