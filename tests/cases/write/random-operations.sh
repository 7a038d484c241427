#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 400
# Random operations of four processes on one file, compared with a model, while pages are evicted, the kernel's are dropped, and the
# file is stored all the time; with room for all of it and with hardly any; then the bucket has the same. OPERATIONS (40000) for each way.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

OPERATIONS=${OPERATIONS:-40000}
case $TEST_FLAVOUR in asan) OPERATIONS=$((OPERATIONS / 8)) ;; tsan) OPERATIONS=$((OPERATIONS / 16)) ;; esac
seed=${SEED:-$(($(date +%s) % 100000))}
FSX=$TEST_TOOLS/fsx_like
[ -x "$FSX" ] || skip "fsx_like has not been built"
write_start
make_object file 700000
drop=
[ "$(id -u)" -ne 0 ] || drop=-D

try() # WHAT OPTIONS ARGUMENT...
{
	what=$1 options=$2
	shift 2
	s3_put "$SRV/file" s3://bucket/file
	write_mount "$MNT" "$options"
	"$FSX" -s "$seed" -n "$OPERATIONS" $drop -x "'$VMOFS' evict '$MNT/file' >/dev/null" "$@" "$MNT/file" || fail "see above ($what)"
	assert_eq 0 "$(vmofs_stat read_errors)" "failed reads"
	cp "$MNT/file" "$TEST_TMP/copy"
	sync_all
	assert_stored file "$TEST_TMP/copy"
	assert_same_file "$TEST_TMP/copy" "$MNT/file"
	echo "$what: $(vmofs_stat write.stores) stores"
	vmofs_umount
	write_mount
	assert_same_file "$TEST_TMP/copy" "$MNT/file"
	vmofs_umount
}

echo "seed $seed"
try "one process" write-age=50ms -p 1 -l 1000000
try "four processes" write-age=20ms -p 4 -l 1000000
try "a file of parts, little room" write-age=50ms,dirty-limit=1M,memory=8M -p 4 -l 14000000 -o 200000
try "fsync of the journal" write-age=100ms,fsync=local -p 3 -l 1000000
