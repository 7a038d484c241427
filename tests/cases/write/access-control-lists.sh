#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 300
# Access control lists stay with objects that are overwritten (by one PUT, in parts, by attributes alone) and renamed; nothing is given where there is
# only the owner's. What it costs, by the servers' logs. On a server that verifies signatures, and on one that can switch lists off.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"
. "$TEST_LIB/write.sh"

EVERYBODY=http://acs.amazonaws.com/groups/global/AllUsers
PUBLIC="FULL_CONTROL owner
READ $EVERYBODY"
SHARED="FULL_CONTROL owner
READ other
READ_ACP other"

assert_acl() { assert_eq "$2" "$(s3 acl "s3://bucket/$1")" "who may do what with '$1'"; } # KEY LIST

change() # KEY: four KiB of it are others
{
	head -c 4096 /dev/urandom | dd of="$MNT/$1" bs=4096 seek="${2:-0}" conv=notrunc status=none
	sync_all
}

put_all()
{
	head -c 20000 /dev/urandom >"$TEST_TMP/small"
	head -c 12000000 /dev/urandom >"$TEST_TMP/large"
	for size in small large; do
		for who in own public shared; do s3_put "$TEST_TMP/$size" "s3://bucket/$size-$who"; done
		s3 grant s3://bucket/$size-public public-read
		s3 grant s3://bucket/$size-shared GrantRead=id=other GrantReadACP=id=other
	done
	assert_acl small-shared "$SHARED"
}

check_kept()
{
	for size in small large; do
		for who in own public shared; do change $size-$who 1; done
		# moto cannot say it of what was made of parts.
		[ $size = large ] || assert_acl $size-own "FULL_CONTROL owner"
		assert_acl $size-public "$PUBLIC"
		assert_acl $size-shared "$SHARED"
		mv "$MNT/$size-public" "$MNT/$size-renamed"
		chmod 600 "$MNT/$size-shared"
		sync_all
		assert_acl $size-renamed "$PUBLIC"
		assert_acl $size-shared "$SHARED"
	done
	echo new >"$MNT/new"
	sync_all
	assert_acl new "FULL_CONTROL owner"
}

ACL='"GET [^"]*[?&]acl' CONTROLS='"GET [^"]*ownershipControls'
asked() { [ "$(s3_count "$ACL")" = "$1" ] || fail "$3: not $1 lists were asked for but $(s3_count "$ACL"): $(s3_log)"
	[ "$(s3_count "$CONTROLS")" = "$2" ] || fail "$3: not $2 times, whether there are any, but $(s3_count "$CONTROLS"): $(s3_log)"; }

check_cost() # [OPTIONS]
{
	put_all
	s3_mark
	write_mount "$MNT" "object-metadata,write-age=600s${1:+,$1}"
	echo new >"$MNT/newer"
	sync_all
	asked 0 0 "a new file"
}

for server in ${SERVERS:-radosgw moto}; do
	write_start $server
	[ $server = moto ] || s3_user other OTHERKEY0000000000AB other/secret
	[ $server = moto ] || s3_front
	export AWS_ENDPOINT_URL=$S3_URL
	check_cost upload-part=5M
	change small-own
	asked 1 1 "the first store"
	s3_mark
	change small-own
	asked 1 0 "the second one"
	[ $server != moto ] || check_kept
	[ $server = moto ] || { change small-public && change small-shared && assert_acl small-public "$PUBLIC" && assert_acl small-shared "$SHARED"; }
	vmofs_umount
done

# Not wanted; then switched off, which is asked once.
check_cost acl=ignore
change small-public
asked 0 0 "not wanted"
assert_acl small-public "FULL_CONTROL owner"
vmofs_umount
put_all
s3 own bucket BucketOwnerEnforced
s3_mark
write_mount "$MNT" write-age=600s
change small-own
change small-shared
asked 0 1 "switched off"
vmofs_umount
