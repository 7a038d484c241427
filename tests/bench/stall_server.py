# SPDX-License-Identifier: Apache-2.0
"""A server of one file that lets one request stop half way: the slow part of a download.

    stall_server.py FILE

Prints its port. After `GET /_stall?at=OFFSET&for=SECONDS` the next request whose range covers OFFSET gets the first half of
its bytes, then nothing for so long, then the rest; all others are served at once, also one for the same bytes.
A thread for each connection; the bytes go by sendfile, so that this program's own speed does not count.
"""
import http.server
import os
import re
import socket
import sys
import threading
import time
import urllib.parse

PATH = sys.argv[1]
SIZE = os.path.getsize(PATH)
FILE = os.open(PATH, os.O_RDONLY)
ETAG = f'"{SIZE:x}-{int(os.path.getmtime(PATH)):x}"'

lock = threading.Lock()
stall = None  # (offset, seconds); lock


def take_stall(first, end):
    """For how long this request is to stand still: at most one does."""
    global stall
    with lock:
        if stall is None or not first <= stall[0] < end or end - first < 65536:
            return 0
        seconds, stall = stall[1], None
        return seconds


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._head(200, 0, SIZE)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/_stall":
            return self._arm(urllib.parse.parse_qs(url.query))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, end = (int(asked[1]), min(int(asked[2]) + 1, SIZE)) if asked else (0, SIZE)
        self._head(206 if asked else 200, first, end)
        self.wfile.flush()
        seconds = take_stall(first, end)
        middle = first + (end - first) // 2 if seconds else end
        self._send(first, middle)
        if seconds:
            time.sleep(seconds)
            self._send(middle, end)

    def _arm(self, query):
        global stall
        with lock:
            stall = int(query["at"][0]), float(query["for"][0])
        self.send_response(204)
        self.end_headers()

    def _head(self, status, first, end):
        self.send_response_only(status)
        self.send_header("Content-Length", str(end - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", ETAG)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{SIZE}")
        self.end_headers()

    def _send(self, off, end):
        while off < end:
            try:
                off += os.sendfile(self.connection.fileno(), FILE, off, end - off)
            except OSError:
                self.close_connection = True
                return


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def handle_error(self, *_):  # a client that has gone
        pass


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
