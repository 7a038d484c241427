#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A listing that never comes holds up neither the other files, nor an interrupt, nor the unmount.
. "$TEST_LIB/common.sh"

cat >"$TEST_TMP/hang.py" <<'PY'
# An index page with a file and a directory; what is in the directory is never told.
import http.server, socketserver, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/hangs"):
            time.sleep(3600)
        if self.path == "/":
            kind = "text/html"
            body = (b'<html>\n<head><title>Index of /</title></head>\n<body>\n<h1>Index of /</h1><hr><pre><a href="../">../</a>\n'
                    b'<a href="hangs/">hangs/</a>                                             01-Jan-2024 00:00                   -\n'
                    b'<a href="file">file</a>                                               01-Jan-2024 00:00                   5\n'
                    b'</pre><hr></body>\n</html>\n')
        else:
            kind, body = "text/plain", b"hello"
        ranged = self.headers.get("Range") and self.path != "/"
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", "bytes 0-4/5")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a):
        pass
class S(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
s = S(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
PY
python3 "$TEST_TMP/hang.py" >"$TEST_TMP/port" &
PIDS="$PIDS $!"
wait_for 10 test -s "$TEST_TMP/port" || fail "the server does not start"
URL=http://127.0.0.1:$(cat "$TEST_TMP/port")/

waits() { [ "$(vmofs_stat outstanding)" -ge 1 ]; }

# An interrupt ends who waits; the other files are there meanwhile.
vmofs_mount "$URL" "$MNT" -o "stall-timeout=100s,timeout=300s"
assert_eq "file hangs" "$(ls "$MNT" | xargs)" "names"
ls "$MNT/hangs" 2>/dev/null & who=$!
wait_for 10 waits || fail "nobody waits for the listing"
assert_eq hello "$(timeout 10 cat "$MNT/file")" "contents of the file"
begin=$(date +%s%N)
kill -KILL $who
wait $who 2>/dev/null || :
assert_between 0 "$(awk -v t=$(($(date +%s%N) - begin)) 'BEGIN { print t / 1e9 }')" "$(patience 3)" "seconds of the interrupt"
vmofs_umount

# A signal to the daemon ends the mount, and who waits gets an error.
vmofs_mount "$URL" "$MNT" -o "stall-timeout=100s,timeout=300s"
pid=$(vmofs_pid)
(r=0; ls "$MNT/hangs" >/dev/null 2>&1 || r=$?; echo $r >"$TEST_TMP/status") &
wait_for 10 waits || fail "nobody waits for the listing"
kill -TERM "$pid"
wait_for 5 is_gone "$pid" || fail "the daemon does not end"
wait_for 5 test -s "$TEST_TMP/status" || fail "who waited still does"
[ "$(cat "$TEST_TMP/status")" -ne 0 ] || fail "the listing worked"

# A command that waits for a name ends too.
vmofs_mount "$URL" "$MNT" -o "stall-timeout=100s,timeout=300s"
pid=$(vmofs_pid)
("$VMOFS" prefetch "$MNT/hangs/x" >/dev/null 2>&1 || :; echo ended >"$TEST_TMP/command") &
wait_for 10 waits || :
kill -TERM "$pid"
wait_for 5 is_gone "$pid" || fail "the daemon does not end while a command waits"
wait_for 5 test -s "$TEST_TMP/command" || fail "the command still waits"
