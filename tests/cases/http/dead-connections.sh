#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# GROUP: http
# TIMEOUT: 200
# The way to the server forgets its connections without a word, as a firewall does: not one packet of them passes any
# more. Reads go on over new ones, long before the timeouts that are set; with second requests and without.
. "$TEST_LIB/common.sh"

[ "$(id -u)" -eq 0 ] || skip "needs root, for a network namespace"
need ip nft ss
[ "${IN_NETNS:-}" ] || IN_NETNS=1 exec unshare --net bash "$0"
ip link set lo up

# All packets of the connections that there are now are dropped.
forget_connections()
{
	local ports
	ports=$(ss -Htn "dport = :${HTTPD_URL##*:}" | awk '{ sub(/.*:/, "", $4); print $4 }' | sort -u | paste -sd,)
	[ "$ports" ] || fail "there are no connections"
	nft "add table ip lost; add chain ip lost in { type filter hook input priority 0; }
		add rule ip lost in tcp dport { $ports } drop; add rule ip lost in tcp sport { $ports } drop"
}

make_object big.bin 48M
httpd_start --file "$SRV/big.bin"
for hedge in 2 0; do
	vmofs_mount "$HTTPD_URL/big.bin" "$MNT" -o "hedge=$hedge,stall-timeout=100s,timeout=60s,memory=128M,connections=4"
	read_at "$MNT/big.bin" 0 4000000 | cmp - <(head -c 4000000 "$SRV/big.bin")

	# Between two reads.
	forget_connections
	read_at "$MNT/big.bin" 30000000 100000 | cmp - <(tail -c +30000001 "$SRV/big.bin" | head -c 100000)

	# In the middle of answers: these are silent, and then forgotten.
	"$VMOFS" evict "$MNT/big.bin"
	httpd_set "pause=600000&pause-count=2"
	read_at "$MNT/big.bin" 0 4000000 >"$TEST_TMP/part" & reader=$!
	wait_for 10 eval '[ "$(vmofs_stat in_flight)" -gt 0 ]'
	forget_connections
	wait "$reader" || fail "hedge=$hedge: the read in the middle of which the connections died"
	cmp "$TEST_TMP/part" <(head -c 4000000 "$SRV/big.bin")
	httpd_set "pause=0&pause-count=0"

	cmp "$SRV/big.bin" "$MNT/big.bin"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
	[ "$hedge" -eq 0 ] || [ "$(vmofs_stat hedges)" -gt 0 ] || fail "nothing was raced"
	[ "$hedge" -ne 0 ] || [ "$(vmofs_stat retries)" -gt 0 ] || fail "nothing was tried again"
	vmofs_umount
done
