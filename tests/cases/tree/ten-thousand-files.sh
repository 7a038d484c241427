#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ten thousand small files read one after another: all bytes are right, memory and mappings stay bounded, and no
# file costs more than its request.
. "$TEST_LIB/common.sh"

N=10000
[ "$SLOW" -eq 1 ] || N=1500
python3 - "$SRV" "$N" <<'PY'
import os, sys
srv, n = sys.argv[1], int(sys.argv[2])
os.makedirs(srv + "/f")
for i in range(n):
    with open("%s/f/%05d" % (srv, i), "wb") as f:
        f.write((b"%05d\n" % i) * (1 + i % 1365))
PY
nginx_start
(cd "$SRV" && find f -type f -printf "%p\t$NGINX_URL/%p\t%s\n") >"$TEST_TMP/all.list"
vmofs_mount "list:$TEST_TMP/all.list" "$MNT" --memory 64M
pid=$(vmofs_pid)
maps() { wc -l <"/proc/$pid/maps"; }
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; }
maps_before=$(maps)

cat "$MNT"/f/* | cmp - <(cat "$SRV"/f/*) || fail "the contents differ"
assert_between $((N / 2)) "$(vmofs_stat tree.objects_opened)" $((N + N / 50)) "objects made"
assert_between "$N" "$(vmofs_stat requests)" $((N + N / 20)) "requests"
assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
[ "$SLOW" -gt 1 ] || assert_between 0 "$(rss_kib)" $((128 * 1024)) "KiB of memory"
[ "$SLOW" -gt 1 ] || assert_between 0 "$(maps)" $((maps_before + 100)) "mappings"
assert_between 1 "$(vmofs_stat tree.objects_idle)" 4096 "idle objects"
assert_between 0 "$(find /proc/"$pid"/fd | wc -l)" 200 "descriptors"
vmofs_umount
