#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The options of trees do what they say; what makes no sense is refused with the reason, before anything is mounted.
. "$TEST_LIB/common.sh"

make_object dir/a.bin 5000
make_object dir/b.bin 100
nginx_start "autoindex on;"

touch "$TEST_TMP/file"
assert_fails "a tree, which needs a directory" "$VMOFS" mount "$NGINX_URL/dir/" "$TEST_TMP/file"
assert_fails "option 'name': .* is a tree" "$VMOFS" mount -o name=x "$NGINX_URL/dir/" "$MNT"
assert_fails "option 'file-mode': '0999' is not a mode" "$VMOFS" mount -o file-mode=0999 "$NGINX_URL/dir/" "$MNT"
assert_fails "option 'dir-mode': '10777' is not a mode" "$VMOFS" mount -o dir-mode=10777 "$NGINX_URL/dir/" "$MNT"
assert_fails "option 'uid'" "$VMOFS" mount -o uid=somebody "$NGINX_URL/dir/" "$MNT"
assert_fails "option 'gid': from 0 to 4294967294" "$VMOFS" mount -o gid=4294967295 "$NGINX_URL/dir/" "$MNT"
assert_fails "metadata-ttl" "$VMOFS" mount -o metadata-ttl=soon "$NGINX_URL/dir/" "$MNT"
! is_mounted || fail "something has been mounted"

vmofs_mount "$NGINX_URL/dir/" "$MNT" -o uid=1234,gid=4321,file-mode=640,dir-mode=0750
assert_eq "1234 4321 640" "$(stat -c '%u %g %a' "$MNT/a.bin")" "owner and mode of a file"
assert_eq "1234 4321 750" "$(stat -c '%u %g %a' "$MNT")" "owner and mode of the root"
assert_same_file "$SRV/dir/a.bin" "$MNT/a.bin"
# The kernel does not ask for attributes that are not there a second time: `ls -l` would, for each file.
ask_xattr() { python3 -c 'import errno, os, sys
try: print(os.getxattr(sys.argv[1], "user.vmofs.url").decode())
except OSError as e: sys.exit(errno.errorcode[e.errno])' "$1"; }
assert_errno ENOTSUP ask_xattr "$MNT/a.bin"
before=$(vmofs_stat fuse_requests)
ls -l "$MNT" "$MNT" "$MNT" >/dev/null
assert_between 0 $(($(vmofs_stat fuse_requests) - before)) 12 "requests of the kernel for three times ls -l"
vmofs_umount

vmofs_mount "$NGINX_URL/dir/" "$MNT" -o xattrs
assert_eq "$NGINX_URL/dir/a.bin" "$(ask_xattr "$MNT/a.bin")" "url"
vmofs_umount

# What is added is seen after the TTL, and with `immutable` never; a name that was not there, after its own.
vmofs_mount "$NGINX_URL/dir/" "$MNT" -o metadata-ttl=300ms,negative-ttl=300ms
assert_eq "a.bin b.bin" "$(ls "$MNT" | xargs)" "names"
[ ! -e "$MNT/c.bin" ] || fail "c.bin is there already"
make_object dir/c.bin 10
wait_for 5 test -e "$MNT/c.bin" || fail "c.bin is not seen"
sees_three() { [ "$(ls "$MNT" | xargs)" = "a.bin b.bin c.bin" ]; }
wait_for 5 sees_three || fail "c.bin is not listed"
assert_same_file "$SRV/dir/c.bin" "$MNT/c.bin"
vmofs_umount

vmofs_mount "$NGINX_URL/dir/" "$MNT" -o immutable,metadata-ttl=1ms,negative-ttl=1ms
assert_eq "a.bin b.bin c.bin" "$(ls "$MNT" | xargs)" "names"
before=$(vmofs_stat requests)
make_object dir/d.bin 10
for i in 1 2 3; do
	assert_eq "a.bin b.bin c.bin" "$(ls "$MNT" | xargs)" "names of what is immutable"
	[ ! -e "$MNT/d.bin" ] || fail "d.bin has appeared"
done
assert_eq "$before" "$(vmofs_stat requests)" "requests"
vmofs_umount
