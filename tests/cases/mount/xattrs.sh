#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The extended attributes say where a file comes from, which version it is and what of it is here.
. "$TEST_LIB/common.sh"

make_object data.bin 1M
nginx_start
etag=$(curl -sI "$NGINX_URL/data.bin" | tr -d '\r' | sed -n 's/^ETag: //p')
vmofs_mount "$(echo "$NGINX_URL/data.bin" | sed 's|//|//someone:secret@|')"
f=$MNT/data.bin
assert_eq "$NGINX_URL/data.bin" "$(get_xattr "$f" user.vmofs.url)" "url, without credentials"
assert_eq "$etag" "$(get_xattr "$f" user.vmofs.etag)" "etag"
assert_eq none "$(get_xattr "$f" user.vmofs.resident)" "resident, before"
read_at "$f" 8192 4096 >/dev/null
assert_eq 8192-12287 "$(get_xattr "$f" user.vmofs.resident)" "resident, after"
assert_errno ENODATA python3 -c 'import errno, os, sys
try: os.getxattr(sys.argv[1], "user.vmofs.error")
except OSError as e: sys.exit(errno.errorcode[e.errno])' "$f"
assert_eq "['user.vmofs.url', 'user.vmofs.etag', 'user.vmofs.resident']" \
	"$(python3 -c 'import os, sys; print(os.listxattr(sys.argv[1]))' "$f")"
assert_eq "[]" "$(python3 -c 'import os, sys; print(os.listxattr(sys.argv[1]))' "$MNT")"
for i in $(seq 0 2 254); do echo $((i * 4096)); done | python3 -c 'import os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(f, 0, 0, os.POSIX_FADV_RANDOM)
for line in sys.stdin: os.pread(f, 1, int(line))' "$f"
assert_match '^0-4095,8192-12287,16384-20479,' "$(get_xattr "$f" user.vmofs.resident)" "many ranges"
! grep -q someone /proc/self/mounts || fail "the table of mounts shows credentials"
vmofs_umount
