# SPDX-License-Identifier: Apache-2.0
#
# Mounts that can be written, for cases that have sourced common.sh and s3.sh: bucket "bucket" at $MNT, its journal in
# $JOURNAL, what a client that is not ours sees of it.

JOURNAL=$TEST_TMP/journal
export XDG_STATE_HOME=$TEST_TMP/state

# Neither server looks at every precondition, and each mount says so.
expect_log 'preconditions'

# write_start [radosgw]: a server (moto, which has more of S3) with an empty bucket
write_start()
{
	WRITE_TTL=500ms
	if [ "${1:-moto}" = radosgw ]; then
		# Its posix backend lists keys that have just been overwritten with sizes from nowhere.
		WRITE_TTL=10m
		s3_start
	else
		s3_start_moto
	fi
	s3_mb bucket
	s3_env
}

# write_mount [MOUNTPOINT [OPTIONS]]: what others do is seen soon, but for radosgw
write_mount()
{
	vmofs_mount s3://bucket "${1:-$MNT}" -o "rw,journal-dir=$JOURNAL,metadata-ttl=$WRITE_TTL,negative-ttl=500ms${2:+,$2}"
}

# fetch KEY: the object as it is in the bucket, in $TEST_TMP/fetched
fetch() { s3 get "s3://bucket/$1" "$TEST_TMP/fetched"; }

is_stored() # KEY FILE
{
	fetch "$1" 2>/dev/null && cmp -s "$TEST_TMP/fetched" "$2"
}

assert_stored() # KEY FILE
{
	fetch "$1" || fail "there is no '$1' in the bucket"
	cmp "$TEST_TMP/fetched" "$2" || fail "'$1' in the bucket is not '$2'"
}

# assert_text KEY TEXT: what is in the bucket
assert_text()
{
	fetch "$1" || fail "there is no '$1' in the bucket"
	assert_eq "$2" "$(cat "$TEST_TMP/fetched")" "'$1' in the bucket"
}

is_absent() { ! fetch "$1" 2>/dev/null; }

sync_all() { timeout $((60 * SLOW)) "$VMOFS" sync "${1:-$MNT}" || fail "vmofs sync fails"; }

# What is kept beside the bucket as a copy is what the mount has, and what the bucket has.
assert_same_tree() # DIR [MOUNTPOINT]
{
	diff -r --no-dereference "$1" "${2:-$MNT}" >&2 || fail "the mount is not what it should be"
}

# kill_mount [MOUNTPOINT]: kill -9 of the daemon, and the dead mount is taken away
kill_mount()
{
	at=${1:-$MNT} pid=$(vmofs_pid "$at")
	kill -9 "$pid"
	wait_for 10 is_gone "$pid"
	umount -l "$at"
}
