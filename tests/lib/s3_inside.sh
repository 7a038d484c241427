#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: unshare --mount sh s3_inside.sh ROOT DIR COMMAND...
# Runs COMMAND in ROOT (what conf/setup.sh --s3 prepares) with DIR as its /srv. The mounts are seen by this process
# alone. Its namespace begins as a copy of all mounts of the machine: a vmofs mount in it, of somebody who runs beside,
# would live as long as the server.
set -eu
root=$1 dir=$2
shift 2
umount -a -i -l -t fuse.vmofs || :
mount --bind "$dir" "$root/srv"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
