#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Reads through a mapping, shared and private.
. "$TEST_LIB/common.sh"

make_object data.bin 8M
nginx_start
vmofs_mount "$NGINX_URL/data.bin"
python3 - "$MNT/data.bin" "$SRV/data.bin" <<'PY'
import mmap, sys
want = open(sys.argv[2], "rb").read()
for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
    with open(sys.argv[1], "rb") as f:
        m = mmap.mmap(f.fileno(), 0, flags=flags, prot=mmap.PROT_READ)
        for off in (5000000, 0, len(want) - 3, 1234567):
            assert m[off:off + 5000] == want[off:off + 5000], off
        assert m[:] == want
PY
vmofs_umount
