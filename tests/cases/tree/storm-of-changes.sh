#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Walkers, readers, interrupted programs and dropped caches over a bucket that changes all the time, with listings
# of many pages that fail at times: what was there all the time is there, once; nobody hangs; in the end all is as it is.
. "$TEST_LIB/common.sh"

cat >"$TEST_TMP/server.py" <<'PY'
# An S3 server of keys that change: some for ever the same, others come, go and have new versions.
import bisect, http.server, random, re, socketserver, sys, threading, time, urllib.parse
from xml.sax.saxutils import escape
PAGE = 40
seed, wild = random.Random(int(sys.argv[1])), threading.Event()
lock, faults = threading.Lock(), random.Random(int(sys.argv[1]) + 1)
wild.set()
keys = {}
def body(key, version):
    return (("%s %d\n" % (key, version)) * (1 + version * 7 % 400)).encode()
def put(key):
    keys[key] = keys.get(key, 0) + 1
STEADY = ["d%02d/steady%02d" % (d, i) for d in range(30) for i in range(8)] + ["big/steady%03d" % i for i in range(300)] + ["deep/a/b/c/steady", "steady"]
LOOSE = ["d%02d/x%02d" % (d, i) for d in range(34) for i in range(6)] + ["big/x%03d" % i for i in range(200)] + \
        ["deep/a/x%d" % i for i in range(9)] + ["x%d" % i for i in range(9)] + ["x%d/below" % i for i in range(9)]
for k in STEADY: put(k)
for k in LOOSE[::2]: put(k)
ordered = sorted(keys)
def change():
    global ordered
    while wild.is_set():
        with lock:
            for _ in range(6):
                k = seed.choice(LOOSE)
                if seed.random() < 0.4 and k in keys: del keys[k]
                else: put(k) if k not in keys else keys.__setitem__(k, keys[k] + 1)
            ordered = sorted(keys)
        time.sleep(0.02)
def entry(k):
    return "<Contents><Key>%s</Key><LastModified>2024-01-02T03:04:%02d.000Z</LastModified><ETag>&quot;%032x&quot;</ETag><Size>%d</Size></Contents>" % (
        escape(k), keys[k] % 60, hash(k) % 2**60 * 2**60 + keys[k], len(body(k, keys[k])))
def listing(q):
    prefix, slash = q.get("prefix", ""), q.get("delimiter", "")
    after = q.get("continuation-token") or q.get("start-after", "")
    most, out, n, last, more = min(PAGE, int(q.get("max-keys", PAGE))), [], 0, "", False
    i = bisect.bisect_left(ordered, max(prefix, after))
    while i < len(ordered) and ordered[i].startswith(prefix):
        k = ordered[i]; i += 1
        cut = k.find("/", len(prefix)) if slash else -1
        name = k[:cut + 1] if cut >= 0 else k
        if name <= after or name == last: continue
        if n == most: more = True; break
        out.append("<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % name if cut >= 0 else entry(k))
        n, last = n + 1, name
    return ("<ListBucketResult><Name>b</Name><Prefix>%s</Prefix><KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys><IsTruncated>%s</IsTruncated>%s%s</ListBucketResult>" % (
        escape(prefix), n, most, "true" if more else "false", "<NextContinuationToken>%s</NextContinuationToken>" % last if more else "", "".join(out))).encode()
class H(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    def answer(self, status, data, **headers):
        self.send_response(status)
        for h, v in headers.items(): self.send_header(h.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(data)
        self.wfile.flush()
    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/_calm":
            wild.clear(); time.sleep(0.1)
            return self.answer(200, "".join("%s %d\n" % (k, len(body(k, keys[k]))) for k in ordered).encode())
        if path == "/_wild":
            wild.set(); threading.Thread(target=change, daemon=True).start()
            return self.answer(200, b"")
        q = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        key = urllib.parse.unquote(path).lstrip("/").partition("/")[2]
        odd = faults.random() if wild.is_set() else 1
        if odd < 0.1: time.sleep(odd)
        if 0.1 < odd < 0.11: return self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
        # Now and then a listing cannot be had at all; the first look at the bucket can.
        if not key and int(q.get("max-keys", PAGE)) > 2 and 0.11 < odd < 0.115: return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        with lock:
            if not key: data = listing(q)
            else: version = keys.get(key)
        if not key: return self.answer(200, data, Content_Type="application/xml")
        if not version: return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        data, tag = body(key, version), '"%032x"' % (hash(key) % 2**60 * 2**60 + version)
        if self.headers.get("If-Match", tag) != tag: return self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        m = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        if not m: return self.answer(200, data, ETag=tag)
        a, b = int(m[1]), min(int(m[2] or len(data)), len(data) - 1)
        self.answer(206, data[a:b + 1], ETag=tag, Content_Range="bytes %d-%d/%d" % (a, b, len(data)))
    do_HEAD = do_GET
    def log_message(self, *a): pass
class S(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, request_queue_size = True, 256
s = S(("127.0.0.1", 0), H)
threading.Thread(target=change, daemon=True).start()
print(s.server_port, flush=True)
s.serve_forever()
PY

cat >"$TEST_TMP/storm.py" <<'PY'
import collections, errno, os, random, signal, subprocess, sys, threading, time
mnt, seconds, seed, limit = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
end, wrong, done, slow = time.monotonic() + seconds, [], collections.Counter(), [0]
FINE = {errno.EACCES, errno.EINTR}  # the server refuses at times, and signals come
GONE = FINE | {errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.EISDIR, errno.EIO}
def bad(what): wrong.append(what); print("WRONG:", what, flush=True)
def timed(what, fn):
    begin = time.monotonic()
    fn()
    took = time.monotonic() - begin
    done[what] += 1
    slow[0] = max(slow[0], took)
    if took > limit: bad("%s took %.1f s" % (what, took))
def names(path, steady):
    try: got = os.listdir(path)
    except OSError as e:
        if e.errno not in FINE: bad("%s: %s" % (path, e))
        return
    twice = [n for n, c in collections.Counter(got).items() if c > 1 and n.startswith("steady")]
    if twice: bad("%s has %s twice" % (path, twice))
    missing = set(steady) - set(got)
    if missing: bad("%s lacks %s" % (path, sorted(missing)[:5]))
def read(path, key):
    try:
        with open(path, "rb") as f: size, data = os.fstat(f.fileno()).st_size, f.read()
    except OSError as e:
        if e.errno not in (FINE if "steady" in key else GONE): bad("%s: %s" % (path, e))
        return
    lines = set(data.split(b"\n")) - {b""}
    if len(data) != size or len(lines) != 1 or not next(iter(lines)).startswith(key.encode() + b" "):
        bad("%s: %d of %d bytes, %s" % (path, len(data), size, sorted(lines)[:3]))
def stat(path, steady):
    try: os.stat(path)
    except OSError as e:
        if e.errno not in (FINE if steady else GONE): bad("%s: %s" % (path, e))
def lister(r):
    d = r.choice(["big"] + ["d%02d" % i for i in range(30)])
    want = ["steady%03d" % i for i in range(300)] if d == "big" else ["steady%02d" % i for i in range(8)]
    timed("listdir", lambda: names(mnt + "/" + d, want))
def reader(r):
    key = r.choice(["d%02d/steady%02d" % (r.randrange(30), r.randrange(8)), "deep/a/b/c/steady", "steady",
                    "d%02d/x%02d" % (r.randrange(34), r.randrange(6)), "big/x%03d" % r.randrange(200), "deep/a/x%d" % r.randrange(9)])
    timed("read", lambda: read(mnt + "/" + key, key))
def looker(r):
    key = r.choice(["big/steady%03d" % r.randrange(300), "big/none%d" % r.randrange(99), "x%d" % r.randrange(9), "x%d/below" % r.randrange(9), "d%02d/x%02d" % (r.randrange(34), r.randrange(6))])
    timed("stat", lambda: stat(mnt + "/" + key, "steady" in key))
def program(r):
    argv = r.choice([["find", mnt], ["find", mnt, "-type", "f", "-size", "+1"], ["ls", "-lR", mnt], ["ls", "-l", mnt + "/big"], ["du", "-s", mnt]])
    p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try: p.wait(r.random() * 2)
    except subprocess.TimeoutExpired: p.send_signal(r.choice([signal.SIGINT, signal.SIGKILL, signal.SIGTERM]))
    timed("end of " + argv[0], p.wait)
def dropper(r):
    time.sleep(0.5 + r.random())
    if os.geteuid() == 0: open("/proc/sys/vm/drop_caches", "w").write(r.choice("123"))
def holder(r):
    def hold():
        try: it = os.scandir(mnt + "/big")
        except OSError: return
        with it:
            try:
                for i, e in enumerate(it):
                    if i % 50 == 0: time.sleep(0.02)
            except OSError as e:
                if e.errno not in FINE: bad("big: %s" % e)
    timed("slow listing", hold)
def work(fn, n):
    r = random.Random("%d %s %d" % (seed, fn.__name__, n))
    while time.monotonic() < end: fn(r)
jobs = [threading.Thread(target=work, args=a, daemon=True) for a in
        [(lister, 0), (lister, 1), (lister, 2), (reader, 0), (reader, 1), (reader, 2), (looker, 0), (looker, 1), (program, 0), (program, 1), (dropper, 0), (holder, 0)]]
for j in jobs: j.start()
for j in jobs: j.join(seconds + limit)
if any(j.is_alive() for j in jobs): bad("somebody hangs")
print(dict(done), "slowest %.1f s" % slow[0], flush=True)
os._exit(bool(wrong))
PY

seed=${STORM_SEED:-$(($(date +%s) % 100000))}
echo "seed $seed"
PYTHONHASHSEED=1 python3 "$TEST_TMP/server.py" "$seed" >"$TEST_TMP/port" 2>"$TEST_TMP/server.log" &
PIDS="$PIDS $!"
wait_for 10 test -s "$TEST_TMP/port" || fail "the server does not start"
URL=http://127.0.0.1:$(cat "$TEST_TMP/port")
expect_log "cannot|changed|NoSuchKey|AccessDenied|SlowDown"

storm() # SECONDS OPTIONS
{
	vmofs_mount s3://bucket "$MNT" --memory 8M -o "endpoint=$URL,no-sign-request,timeout=20s,$2"
	pid=$(vmofs_pid)
	python3 "$TEST_TMP/storm.py" "$MNT" "$1" "$seed" $((15 * SLOW)) || fail "see above (seed $seed, $2)"
}

is_as_served()
{
	find "$MNT" -type f -printf '%P %s\n' 2>/dev/null | sort >"$TEST_TMP/got"
	cmp -s "$TEST_TMP/want" "$TEST_TMP/got" || { sleep 0.5; return 1; }
}

calm() # everything is as the server says, and nobody waits
{
	curl -sf "$URL/_calm" | sort >"$TEST_TMP/keys"
	# A key with keys below it is shown as a directory.
	awk '{ print $1 }' "$TEST_TMP/keys" | sed -n 's,/.*,,p' | sort -u >"$TEST_TMP/dirs"
	awk 'NR == FNR { d[$1] = 1; next } !($1 in d)' "$TEST_TMP/dirs" "$TEST_TMP/keys" >"$TEST_TMP/want"
	sleep 1
	# A file that has become a directory, or one that has gone, may take some listings to be sorted out.
	wait_for 15 is_as_served || { diff "$TEST_TMP/want" "$TEST_TMP/got"; fail "the tree is not what the server has (seed $seed)"; }
	assert_eq 0 "$(vmofs_stat tree.waiting)" "who waits in the tree"
	assert_eq 0 "$(vmofs_stat outstanding)" "outstanding requests"
}

storm 7 metadata-ttl=300ms,negative-ttl=100ms,metadata-memory=64K
# The end in the middle of it all.
find "$MNT" >/dev/null 2>&1 & finder=$!
kill -TERM "$pid"
wait_for 10 is_gone "$pid" || fail "the daemon does not end"
wait $finder 2>/dev/null || :
! is_mounted || fail "it is still mounted"
for options in metadata-ttl=0,negative-ttl=0,metadata-memory=16K metadata-ttl=200ms,metadata-memory=1,object-metadata; do
	curl -sf "$URL/_wild"
	storm 6 "$options"
	calm
	vmofs_umount
	wait_for 10 is_gone "$pid" || fail "the daemon has not ended"
done
