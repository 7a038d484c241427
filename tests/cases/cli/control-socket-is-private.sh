#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The control socket is for the owner and root only, and nonsense sent to it harms nobody.
. "$TEST_LIB/common.sh"

need_root
need setpriv
make_object data.bin 1M
nginx_start
vmofs_mount "$NGINX_URL/data.bin" "$MNT" -o allow-other
assert_eq "700 0" "$(stat -c '%a %u' /run/vmofs)" "mode and owner of the run directory"
assert_fails 'belongs to user 0' setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$VMOFS" stat "$MNT"
python3 - "/run/vmofs/$(findmnt -rno MAJ:MIN "$MNT" | tr : -)" <<'PY'
import json, os, socket, sys, time
def ask(data, end=False):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    for attempt in range(1000):
        try:
            s.connect(sys.argv[1])
            break
        except BlockingIOError: # the backlog is full of what was connected and closed before
            time.sleep(0.01)
    s.sendall(data)
    if end:
        s.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        b = s.recv(65536)
        if not b:
            return got
        got += b
assert json.loads(ask(b'{"cmd":"stat"}\n'))["ok"]
for bad in (b"\n", b"nonsense\n", b"[]\n", b'{"cmd":5}\n', b'{"cmd":"frob"}\n', b"\0\xff\n", b"x" * 5120):
    assert not json.loads(ask(bad))["ok"], bad
assert ask(b'{"cmd":"st', end=True) == b""
for bad in (b'{"cmd":"prefetch","off":"x","len":[]}\n', b'{"cmd":"prefetch","path":"../../etc"}\n',
            b'{"cmd":"evict","off":-5,"len":99999999999999}\n', b'{"cmd":"evict","off":9223372036854775807}\n'):
    json.loads(ask(bad))
held = [socket.socket(socket.AF_UNIX) for _ in range(200)]
for s in held:
    s.connect(sys.argv[1])
for s in held:
    s.close()
assert json.loads(ask(b'{"cmd":"stat"}\n'))["ok"]
PY
assert_same_file "$SRV/data.bin" "$MNT/data.bin"
pid=$(vmofs_pid)
sock=/run/vmofs/$(findmnt -rno MAJ:MIN "$MNT" | tr : -)
vmofs_umount
wait_for 10 is_gone "$pid" || fail "the daemon lives on"
[ ! -e "$sock" ] || fail "the socket is left"

# Of a mount that has got the device number meanwhile.
vmofs_mount "$NGINX_URL/data.bin"
pid=$(vmofs_pid)
sock=/run/vmofs/$(findmnt -rno MAJ:MIN "$MNT" | tr : -)
rm "$sock"
echo other >"$sock"
umount "$MNT"
wait_for 10 is_gone "$pid" || fail "the daemon lives on"
assert_eq other "$(cat "$sock" 2>/dev/null)" "what is another's at the address"
rm "$sock"
