# SPDX-License-Identifier: Apache-2.0
"""Stands between a mount and its S3 server, and does something at a request that is chosen by its number.

    b = Between("http://127.0.0.1:PORT"); b.url is where it listens
    b.arm(3, before=put_something)    the 3rd request from now on (0 is the first): called before it is passed on
    b.arm(3, after=...)               called when the server has done it, before the answer is
    b.arm(3, lose=True)               passed on, and its answer is lost
    b.arm(3, lose=True, always=True)  that of the 3rd and all that follow
    b.arm(3, refuse=403)              not passed on: this is the answer
    b.arm(3, match="uploads", ...)    the 3rd of those that have this in their lines
    Between(url, strict=True)         looks at the preconditions of completions, as AWS does, where the server does not; b.client is then a
                                      boto3 client of the server, and who else changes objects holds b.turn meanwhile
    Between(url, skip=("GET ",))      such requests are not counted
    b.quiet()                         nothing is called any more, and what was has returned: a request may be on its way beside the one waited for
    b.disarm() -> how many requests there were, and the lines of those
"""
import http.client
import http.server
import socketserver
import threading
import urllib.parse


class Between:
    def __init__(self, url, strict=False, skip=()):
        self._skip = tuple(skip)
        self._strict, self.turn = strict, threading.Lock()
        to = urllib.parse.urlsplit(url)
        self._to, self._lock, self._armed, self.lines = (to.hostname, to.port), threading.Condition(), None, []
        self._last, self._calls = None, 0
        between = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version, wbufsize = "HTTP/1.1", -1

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def pass_on(self):
                between.handle(self)
            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads, request_queue_size = True, 128

            def handle_error(self, *_):
                pass
        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def arm(self, number, before=None, after=None, lose=False, always=False, refuse=None, match=""):
        if refuse:
            before = lambda: Refusal(refuse)
        with self._lock:
            self.lines, self._armed = [], (number, before, after, lose, always, match)
            self._last = self._armed

    def at(self):
        """("before" or "after", the line of the request that was armed, the next one's or ""), if it has come."""
        with self._lock:
            number, before = self._last[:2] if self._last else (0, None)
            if number >= len(self.lines):
                return None
            return "before" if before else "after", self.lines[number], "".join(self.lines[number + 1:number + 2])

    def quiet(self):
        with self._lock:
            self._armed = None
            while self._calls:
                self._lock.wait()

    def disarm(self):
        with self._lock:
            lines, self.lines, self._armed = self.lines, [], None
        return len(lines), lines

    def _turn(self, line):
        """What is to be done at this request: (before, after, lose)."""
        if line.startswith(self._skip):
            return None, None, False
        with self._lock:
            self.lines.append(line)
            if not self._armed:
                return None, None, False
            at, before, after, lose, always, match = self._armed
            number = sum(match in line for line in self.lines) - 1
            if match not in line or number != at and not (always and number > at):
                return None, None, False
            self._calls += 1
            return before, after, lose

    def _called(self):
        with self._lock:
            self._calls -= 1
            self._lock.notify_all()

    def handle(self, h):
        body = h.rfile.read(int(h.headers.get("Content-Length", 0)))
        before, after, lose = turn = self._turn(f"{h.command} {h.path}")
        try:
            answer, data = self._pass(h, body, before, after)
        finally:
            if any(turn):
                self._called()
        if lose:
            h.close_connection = True
            return
        h.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                h.send_header(name, value)
        # HEAD tells a length that no body has.
        h.send_header("Content-Length", answer.getheader("Content-Length", str(len(data))) if h.command == "HEAD" else str(len(data)))
        h.end_headers()
        h.wfile.write(data)
        h.wfile.flush()

    def _pass(self, h, body, before, after):
        refusal = before() if before else None
        if isinstance(refusal, Refusal):
            return refusal, b"<Error><Code>Refused</Code><Message>as the case wants it</Message></Error>"
        if self._strict and h.command == "POST" and "uploadId=" in h.path:
            with self.turn:
                answer, data = self._refusal(h) or self._ask(h, body)
        else:
            answer, data = self._ask(h, body)
        if after:
            after()
        return answer, data

    def _ask(self, h, body):
        connection = http.client.HTTPConnection(*self._to, timeout=60)
        connection.putrequest(h.command, h.path, skip_host=True, skip_accept_encoding=True)
        for name, value in h.headers.items():
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer, data

    def _refusal(self, h):
        """412 where a precondition does not hold: what is there is asked of the server by a client of its own."""
        match, none = h.headers.get("If-Match"), h.headers.get("If-None-Match")
        bucket, key = urllib.parse.unquote(h.path.split("?")[0]).lstrip("/").split("/", 1)
        try:
            tag = self.client.head_object(Bucket=bucket, Key=key)["ETag"]
        except self.client.exceptions.ClientError:
            tag = None
        if (match and match != tag) or (none and tag):
            return Refusal(412), b"<Error><Code>PreconditionFailed</Code><Message>another version</Message></Error>"
        return None


class Refusal:
    reason = "Refused"

    def __init__(self, status):
        self.status = status

    def getheaders(self):
        return [("Content-Type", "application/xml")]

    def getheader(self, _, default=None):
        return default
