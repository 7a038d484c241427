#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Many readers of many small files in little memory, with files that come and go from the cache all the time, and
# commands beside them: every byte is right.
. "$TEST_LIB/common.sh"

N=600
python3 - "$SRV" "$N" <<'PY'
import os, sys
srv, n = sys.argv[1], int(sys.argv[2])
for d in range(4):
    os.makedirs("%s/d%d" % (srv, d))
    for i in range(n // 4):
        with open("%s/d%d/%04d" % (srv, d, i), "wb") as f:
            f.write(os.urandom(1 + (i * 7919) % 90000))
PY
nginx_start "autoindex on; autoindex_format json;"
vmofs_mount "$NGINX_URL/" "$MNT" --memory 8M -o metadata-ttl=500ms,metadata-memory=64K
(cd "$SRV" && find . -type f | sort | xargs sha256sum) >"$TEST_TMP/sums"

check() # how the list is ordered
{
	(cd "$MNT" && $1 "$TEST_TMP/sums" | sed 's/^[^ ]*  //' | xargs -P4 -n 20 sha256sum) | sort >"$TEST_TMP/got.$2"
}
check cat 1 & a=$!
check tac 2 & b=$!
check "shuf" 3 & c=$!
while kill -0 $a 2>/dev/null; do
	"$VMOFS" evict "$MNT" >/dev/null
	"$VMOFS" stat --json "$MNT" >/dev/null
	"$VMOFS" dump "$MNT" >/dev/null
	find "$MNT" -type f >/dev/null
	[ "$(id -u)" -ne 0 ] || echo 3 >/proc/sys/vm/drop_caches
	sleep 0.1
done
wait $a; wait $b; wait $c
sort "$TEST_TMP/sums" >"$TEST_TMP/want"
for i in 1 2 3; do
	cmp "$TEST_TMP/want" "$TEST_TMP/got.$i" || fail "reader $i has other bytes"
done
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
assert_eq 0 "$(vmofs_stat integrity_errors)" "wrong answers"
vmofs_umount
