#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who reads small files in order does not pay a round trip a file; who reads at random gets what he asks for and no
# more; and nothing is fetched twice.
. "$TEST_LIB/common.sh"

N=200
cat >"$TEST_TMP/slow.py" <<'PY'
# A server 30 ms away: every file is its name, many times.
import http.server, socketserver, sys, threading, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    def do_GET(self):
        time.sleep(0.03)
        body = (self.path.encode() * 4096)[:4096]
        self.send_response(206 if self.headers.get("Range") else 200)
        if self.headers.get("Range"):
            self.send_header("Content-Range", "bytes 0-4095/4096")
        self.send_header("Content-Length", "4096")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
    def log_message(self, *a):
        pass
class S(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256
s = S(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
PY
python3 "$TEST_TMP/slow.py" >"$TEST_TMP/port" &
PIDS="$PIDS $!"
wait_for 10 test -s "$TEST_TMP/port" || fail "the server does not start"
URL=http://127.0.0.1:$(cat "$TEST_TMP/port")
for i in $(seq -w 1 $N); do printf 'd/%s\t%s/d/%s\t4096\t"1"\n' "$i" "$URL" "$i"; done >"$TEST_TMP/all.list"

# One round trip a file would be N * 30 ms. Three tries, where others use the machine as well.
most=$(awk -v n=$N -v s="$SLOW" 'BEGIN { print n * 0.03 / 3 * s }')
for _ in 1 2 3; do
	vmofs_mount "list:$TEST_TMP/all.list" "$MNT"
	ls "$MNT/d" >/dev/null
	took=$(seconds cat "$MNT"/d/* 2>"$TEST_TMP/got")
	assert_eq $((N * 4096)) "$(stat -c %s "$TEST_TMP/got")" "bytes"
	for i in 001 100 200; do
		grep -q "/d/$i/d/$i" "$TEST_TMP/got" || fail "$i is not in it"
	done
	assert_eq "$N" "$(vmofs_stat requests)" "requests"
	vmofs_umount
	! awk -v t="$took" -v m="$most" 'BEGIN { exit !(t <= m) }' || break
done
assert_between 0 "$took" "$most" "seconds for $N files"

# The same of eight at a time.
vmofs_mount "list:$TEST_TMP/all.list" "$MNT"
ls "$MNT/d" >/dev/null
printf '%s\n' "$MNT"/d/* | xargs -P8 -n1 cat >/dev/null
assert_eq "$N" "$(vmofs_stat requests)" "requests of eight readers"
vmofs_umount

# Far apart, and with the option off: only what is read.
vmofs_mount "list:$TEST_TMP/all.list" "$MNT"
ls "$MNT/d" >/dev/null
cat "$MNT"/d/010 "$MNT"/d/150 "$MNT"/d/070 "$MNT"/d/190 "$MNT"/d/040 "$MNT"/d/120 >/dev/null
assert_eq 6 "$(vmofs_stat requests)" "requests of a random reader"
vmofs_umount
vmofs_mount "list:$TEST_TMP/all.list" "$MNT" -o siblings-max=0
ls "$MNT/d" >/dev/null
cat "$MNT"/d/00? >/dev/null
assert_eq 9 "$(vmofs_stat requests)" "requests without read-ahead"
vmofs_umount
