#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmofs ls and cat of a bucket, of a prefix, of a key, and of a name that is both.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start_moto
s3_env
s3_mb bucket
for key in a a/b a/c/d 'with space' z; do
	printf '%s' "of $key" | s3_put - "s3://bucket/$key"
done
joined() { tr '\n' ',' | sed 's/,$//'; }

assert_eq "a,a/,with space,z" "$("$VMOFS" ls s3://bucket/ | joined)"
assert_eq "a,a/,with space,z" "$("$VMOFS" ls s3://bucket | joined)"
assert_eq "b,c/" "$("$VMOFS" ls s3://bucket/a/ | joined)"
assert_eq "a,b,c/" "$("$VMOFS" ls s3://bucket/a | joined)"
assert_eq "z" "$("$VMOFS" ls s3://bucket/z | joined)"
assert_eq "a,a/b,a/c/d,with space,z" "$("$VMOFS" ls -R s3://bucket/ | joined)"
assert_match '^-r.* 4 20.* z$' "$("$VMOFS" ls -l s3://bucket/)"
assert_match '"name":"z","type":"file","size":4,"mtime":[0-9]+,"validator":"\\"' "$("$VMOFS" ls --json s3://bucket/ | tail -1)"
assert_eq "of a/c/d" "$("$VMOFS" cat s3://bucket/a/c/d)"
assert_eq "of aof a/bof with space" "$("$VMOFS" cat s3://bucket/a s3://bucket/a/b "s3://bucket/with space")"
assert_eq "of a/b" "$("$VMOFS" cat -p b s3://bucket/a/)"
assert_fails "nothing" "$VMOFS" cat s3://bucket/nothing
assert_fails "there is no 'nothing'" "$VMOFS" ls s3://bucket/nothing
assert_fails "NoSuchBucket" "$VMOFS" ls s3://other-bucket/
