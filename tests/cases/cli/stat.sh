#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The counters of a mount: every field of the JSON is there, and they count.
. "$TEST_LIB/common.sh"

make_object data.bin 8M
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
read_at "$MNT/data.bin" 0 100000 >/dev/null
"$VMOFS" stat --json "$MNT" | python3 -c '
import json, sys
v = json.load(sys.stdin)
for k in ("source mountpoint validator pid size uptime_s fuse_requests reads hits misses bytes_asked outstanding "
          "read_errors interrupted timed_out passthrough read_latency_us requests retries bytes_fetched bytes_discarded "
          "connections redirects in_flight errors integrity_errors hedges hedges_won hedged_bytes latency_us last_error memory_bytes memory_limit "
          "memory_peak memory_waits evicted_pages resident overhead_bytes").split():
    v.pop(k)
assert not v, v'
assert_eq "$NGINX_URL/data.bin" "$(vmofs_stat source)"
assert_between 1 "$(vmofs_stat reads)" 1000 reads
assert_eq "$(vmofs_stat reads)" "$(($(vmofs_stat hits) + $(vmofs_stat misses)))" "hits and misses"
assert_between 100000 "$(vmofs_stat bytes_asked)" 8388608 "bytes asked"
assert_between 100000 "$(vmofs_stat resident)" 8388608 resident
assert_between 1 "$(vmofs_stat latency_us.p50)" 5000000 "p50"
assert_between "$(vmofs_stat latency_us.p50)" "$(vmofs_stat latency_us.p99)" 5000000 "p99"
assert_eq None "$(vmofs_stat last_error)"
assert_match '^source +http' "$("$VMOFS" stat "$MNT")" "text"
assert_match '^source +http' "$("$VMOFS" stat "$MNT/data.bin")" "text, by a file inside"
(cd "$MNT" && "$VMOFS" stat . >/dev/null) || fail "stat . does not work"
assert_eq 3 "$(timeout 2.7 "$VMOFS" stat --json -i 1 "$MNT" | wc -l)" "lines in 2.7 s"
assert_match 'page|PageSource|vmo' "$("$VMOFS" dump "$MNT")" "dump"
vmofs_umount
