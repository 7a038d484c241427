#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Index pages behind basic authentication, by every way to give a password; without one the mount says what is missing.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/index.sh"

mkdir -p "$SRV/private/sub"
echo secret >"$SRV/private/sub/file"
echo 'me:{PLAIN}s3cret' >"$TEST_TMP/htpasswd"
chmod 644 "$TEST_TMP/htpasswd"
index_start_nginx "auth_basic private; auth_basic_user_file $TEST_TMP/htpasswd;"
host=${INDEX_URL#http://}
printf 'me:s3cret' >"$TEST_TMP/user"
printf 'machine 127.0.0.1 login me password s3cret\n' >"$TEST_TMP/netrc"

assert_fails "401.*credentials" "$VMOFS" ls "$INDEX_URL/private/"
assert_fails "401" "$VMOFS" ls "http://me:wrong@$host/private/"
assert_eq sub/file "$("$VMOFS" ls -R "http://me:s3cret@$host/private/" | tail -1)"
assert_eq secret "$("$VMOFS" cat --user-file="$TEST_TMP/user" -p sub/file "$INDEX_URL/private/")"
assert_eq secret "$(VMOFS_PASSWORD=s3cret "$VMOFS" cat --username=me -p sub/file "$INDEX_URL/private/")"
assert_eq secret "$("$VMOFS" cat -o "netrc=$TEST_TMP/netrc" -p sub/file "$INDEX_URL/private/")"

vmofs_mount "http://me:s3cret@$host/private/"
assert_eq secret "$(cat "$MNT/sub/file")"
! grep -q s3cret "$LOG" || fail "the password is in the log"
! findmnt -rno SOURCE "$MNT" | grep -q s3cret || fail "the password is in the table of mounts"
vmofs_umount
