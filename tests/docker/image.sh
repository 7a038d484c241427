#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# TIMEOUT: 1200
# The container image builds, is unprivileged, and its vmofs runs; where a container here gets /dev/fuse, it mounts.
# No engine is needed: buildah builds in a chroot, from a debootstrapped base that stands in for debian:trixie-slim.
set -eu

skip() { echo "$*"; exit 77; }

[ "$(id -u)" -eq 0 ] || skip "debootstrap needs root"
for tool in buildah debootstrap; do
	command -v $tool >/dev/null || skip "$tool is not installed"
done

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vmofs-tests
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

# The mirror and the settings of this machine's own apt.
. /etc/os-release
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' \
	"Release: $VERSION_CODENAME" 'Origin: Debian' | head -n 1)
[ -n "$mirror" ] || skip "the apt sources of this machine name no Debian mirror"

make_base()
{
	rm -rf --one-file-system "$cache/base" "$cache/base.tar"
	debootstrap --variant=minbase trixie "$cache/base" "$mirror" >"$TEST_TMP/debootstrap.log" 2>&1 || return 1
	apt-config dump | grep -E '^Acquire::(Check|Retries|http::|https::)' >"$cache/base/etc/apt/apt.conf.d/99host" || :
	rm -rf "$cache"/base/var/cache/apt/archives/*.deb
	tar -C "$cache/base" -cf "$cache/base.new" . && mv "$cache/base.new" "$cache/base.tar"
	rm -rf --one-file-system "$cache/base"
}

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=overlay
b() { buildah --root "$TEST_TMP/storage" --runroot "$TEST_TMP/run" "$@"; }

[ -e "$cache/base.tar" ] || make_base || { tail -n 20 "$TEST_TMP/debootstrap.log"; skip "debootstrap cannot make a base here"; }
b info >/dev/null 2>&1 || export STORAGE_DRIVER=vfs

base=$(b from scratch)
b add -q "$base" "$cache/base.tar" / >/dev/null
b commit -q "$base" localhost/debian:trixie-slim >/dev/null
b rm "$base" >/dev/null

# FROM names the image as on a registry; here it is the local one, and nothing is pulled.
sed 's|^FROM debian:trixie-slim|FROM localhost/debian:trixie-slim|' "$VMOFS_SRC/Dockerfile" >"$TEST_TMP/Dockerfile"
b build --pull-never --network host --ignorefile "$VMOFS_SRC/.dockerignore" -f "$TEST_TMP/Dockerfile" \
	-t localhost/vmofs "$VMOFS_SRC" >"$TEST_TMP/build.log" 2>&1 || { tail -n 60 "$TEST_TMP/build.log"; exit 1; }

c=$(b from --pull-never localhost/vmofs)
b run "$c" -- vmofs version
user=$(b run "$c" -- id -un)
[ "$user" = vmofs ] || { echo "the image runs as '$user'"; exit 1; }

# A chroot of buildah's gets the host's /dev; so the container's files are entered directly, as its user, with a
# /dev/fuse as an engine gives it. Where no namespace can be had, the rest is left out.
unshare --mount --pid --fork true 2>/dev/null || { echo "not mounted: no namespaces here"; exit 0; }
[ -c /dev/fuse ] || { echo "not mounted: no /dev/fuse here"; exit 0; }

cat >"$TEST_TMP/as-engine.sh" <<'EOF'
set -eu
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755 dev "$1/dev"
mknod -m 666 "$1/dev/null" c 1 3
mknod -m 666 "$1/dev/urandom" c 1 9
mknod -m 666 "$1/dev/fuse" c 10 229
ln -sf /proc/mounts "$1/etc/mtab"
exec chroot --userspec=vmofs:vmofs "$1" env -i HOME=/var/lib/vmofs PATH=/usr/bin:/bin sh -euc "$2"
EOF
root=$(b mount "$c")
unshare --mount --pid --fork --kill-child sh "$TEST_TMP/as-engine.sh" "$root" '
	cd; mkdir -p mnt; head -c 3000000 /dev/urandom >blob
	vmofs mount file://$PWD/blob mnt
	cmp blob mnt/blob
	vmofs umount mnt
	! ls mnt | grep .'
b umount "$c" >/dev/null
echo "mounted in the container"
