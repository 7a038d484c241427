#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A tree with files of many sizes reads as the local one that was put there: from its root, from a prefix, and one file.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

python3 - "$SRV" <<'PY'
import os, random, sys
chooser = random.Random(1)
for i in range(120):
    d = os.path.join(sys.argv[1], *(f"dir {chooser.randrange(4)}" for _ in range(chooser.randrange(4))))
    os.makedirs(d, exist_ok=True)
    size = chooser.choice([0, 1, 4095, 4096, 4097, 65536, 300000, chooser.randrange(3000000)])
    with open(os.path.join(d, f"file {i}.bin"), "wb") as f:
        f.write(chooser.randbytes(size))
PY
s3_start
s3_mb bucket
s3_sync "$SRV" s3://bucket/
s3_env
vmofs_mount s3://bucket
assert_same_tree() { diff -r "$1" "$2" >"$TEST_TMP/diff.log" 2>&1 || fail "the trees differ: $(head -n 5 "$TEST_TMP/diff.log")"; }
assert_same_tree "$SRV" "$MNT"
assert_same_tree "$SRV" "$MNT"
assert_eq "$(cd "$SRV" && find . -type f -printf '%p %s\n' | sort)" "$(cd "$MNT" && find . -type f -printf '%p %s\n' | sort)" "names and sizes"
assert_eq "$(cd "$SRV" && find . -type d | sort)" "$(cd "$MNT" && find . -type d | sort)" directories
vmofs_umount

vmofs_mount "s3://bucket/dir 1/"
assert_same_tree "$SRV/dir 1" "$MNT"
