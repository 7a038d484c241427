#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 120
# What is open stays readable, all of it, when its name is removed or replaced, in every way that this can happen, though nothing of
# it had been read before: for readers and for writers, at a mount with little room for dirty pages too.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

cat >"$TEST_TMP/nameless.py" <<'PY'
import os, subprocess, sys
mnt, vmofs, mode, text = sys.argv[1], sys.argv[2], sys.argv[3], open(sys.argv[4], "rb").read()
def put(p, text=b"new"):
    with open(p, "wb") as f:
        f.write(text)
def sync():
    subprocess.run([vmofs, "sync", mnt], check=True)
def removed(p): os.unlink(p)
def made_again(p): os.unlink(p); put(p)
def made_again_twice(p): made_again(p); sync(); made_again(p)
def replaced_by_new(p): put(p + ".n"); os.rename(p + ".n", p)
def replaced_by_stored(p): put(p + ".n"); sync(); os.rename(p + ".n", p)
def replaced_twice(p): replaced_by_stored(p); replaced_by_stored(p)
def replaced_by_link(p): os.symlink("target", p + ".n"); os.rename(p + ".n", p)
def removed_then_new(p): os.unlink(p); replaced_by_new(p)
def removed_then_stored(p): os.unlink(p); replaced_by_stored(p)
def removed_then_link(p): os.unlink(p); os.symlink("target", p)
def removed_then_renamed_link(p): os.unlink(p); replaced_by_link(p)
def moved_and_removed(p): os.rename(p, p + ".m"); os.unlink(p + ".m"); put(p + ".m")
def moved_and_replaced(p): os.rename(p, p + ".m"); replaced_by_stored(p + ".m"); put(p)
def directory_moved(p):
    os.unlink(p); os.rename(os.path.dirname(p), os.path.dirname(p) + ".m"); os.makedirs(os.path.dirname(p)); put(p)
def directory_moved_there(p):
    d = os.path.dirname(p); os.unlink(p); os.rmdir(d); os.mkdir(d + ".n"); put(d + ".n/f"); sync(); os.rename(d + ".n", d)
failed = 0
for way in sys.argv[5:]:
    p = f"{mnt}/{mode}-{way}/f"
    f = open(p, "rb" if mode in "rR" else "r+b", buffering=0)
    want = bytearray(text)
    if mode in "wW":
        f.seek(5000)
        f.write(b"changed")
        want[5000:5007] = b"changed"
    try:
        globals()[way](p)
        sync()
        f.seek(0)
        got = b""
        while len(got) < len(text) and (piece := f.read(len(text))):
            got += piece
        how = "ok" if got == want else "other bytes"
    except OSError as e:
        how = str(e)
    f.close()
    print(mode, way, how)
    failed |= how != "ok"
sys.exit(failed)
PY

failed=
WAYS=$(sed -n 's/^def \([a-z_]*\)(p).*/\1/p' "$TEST_TMP/nameless.py" | grep -v '^put$')
write_start
head -c 700001 /dev/urandom >"$TEST_TMP/text"
for mode in r w R W; do
	for way in $WAYS; do
		mkdir -p "$TEST_TMP/all/$mode-$way"
		cp "$TEST_TMP/text" "$TEST_TMP/all/$mode-$way/f"
	done
done
s3_sync "$TEST_TMP/all" s3://bucket/

for options in write-age=100ms write-age=100ms,dirty-limit=1M; do
	write_mount "$MNT" object-metadata,$options
	for mode in $([ $options = write-age=100ms ] && echo r w || echo R W); do
		# shellcheck disable=SC2086
		python3 "$TEST_TMP/nameless.py" "$MNT" "$VMOFS" $mode "$TEST_TMP/text" $WAYS || failed=1
	done
	[ ! "$failed" ] || fail "see above ($options)"
	vmofs_umount
done
