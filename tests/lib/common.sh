# SPDX-License-Identifier: Apache-2.0
#
# What case scripts share: servers on loopback, mounts, assertions, and cleaning up by id.
# Sourced by bash; the environment is described in tests/README.md. Sets -eu; the daemon's logs are
# scanned at the end, and a case that expects errors in them says so with expect_log.
set -eu
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

SRV=$TEST_TMP/srv      # what the servers serve
MNT=$TEST_TMP/mnt      # the mountpoint that most cases use
LOG=$TEST_TMP/vmofs.log # the daemon's log, of all mounts of the case
export HOME=$TEST_TMP/home
unset XDG_CONFIG_HOME XDG_RUNTIME_DIR http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy
mkdir -p "$SRV" "$MNT" "$HOME"

# A sanitizer makes everything slower; cases multiply their limits by this.
case ${TEST_FLAVOUR:-gcc} in asan) SLOW=3 ;; tsan) SLOW=6 ;; *) SLOW=1 ;; esac

# patience SECONDS: what is to take no longer may take so long where others use the machine as well
patience() { echo $(($1 * SLOW > 8 ? $1 * SLOW : 8)); }

PIDS=
AT_END=
ALLOWED_LOG=

fail() { echo "FAIL: $*" >&2; exit 1; }
skip() { echo "$*"; exit 77; }
need() { command -v "$1" >/dev/null 2>&1 || skip "there is no $1"; }
need_root() { [ "$(id -u)" -eq 0 ] || skip "this needs root"; }
[ -e /dev/fuse ] || skip "there is no /dev/fuse"

# ---- the end ----

end_pid() # PID: ended and waited for
{
	kill "$1" 2>/dev/null || return 0
	kill -CONT "$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
}

clean_up()
{
	status=$?
	trap - EXIT
	set +e
	for m in $(findmnt -rno TARGET -t fuse.vmofs | grep "^$TEST_TMP" | sort -r); do
		timeout 60 "$VMOFS" umount "$m" 2>/dev/null || timeout 10 "$VMOFS" umount -l "$m"
	done
	for p in $PIDS; do
		end_pid "$p"
	done
	eval "$AT_END"
	[ "$status" -ne 0 ] || scan_log || status=1
	exit "$status"
}
trap clean_up EXIT
trap 'exit 143' TERM INT

# at_end COMMAND: when mounts and processes are gone; what was said last is done first
at_end() { AT_END="$1; $AT_END"; }

# expect_log PATTERN: lines of the daemon's log that match are no reason to fail
expect_log() { ALLOWED_LOG="$ALLOWED_LOG${ALLOWED_LOG:+|}$1"; }

scan_log()
{
	[ -s "$LOG" ] || return 0
	found=$(grep -E 'vmofs: error:|Assertion|assert|: fuse: |stack smashing|corrupted' "$LOG" |
		grep -vE "${ALLOWED_LOG:-^$}")
	[ -z "$found" ] || { echo "unexpected in the daemon's log:"; echo "$found"; return 1; } >&2
}

# ---- objects and servers ----

make_object() # NAME SIZE: random bytes in $SRV
{
	mkdir -p "$(dirname "$SRV/$1")"
	head -c "$2" /dev/urandom >"$SRV/$1"
}

# wait_for SECONDS COMMAND...: until it succeeds; 15 s at least, because a busy machine may do nothing for a while
wait_for()
{
	limit=$(($(date +%s%N) + ($1 * SLOW > 15 ? $1 * SLOW : 15) * 1000000000)); shift
	until "$@"; do
		[ "$(date +%s%N)" -lt "$limit" ] || return 1
		sleep 0.05
	done
}

# Of those that the kernel gives to nobody by itself: until a server has it, a client of another case might.
free_port()
{
	python3 -c '
import random, socket
low = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
for i in range(1000):
    port = random.randrange(10000, low) if low > 15000 and i < 999 else 0
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", port))
    except OSError:
        continue
    print(s.getsockname()[1])
    break'
}

# nginx_start [DIRECTIVES]: serves $SRV; sets NGINX_URL, NGINX_PID. More directives go into the server block.
nginx_start()
{
	need nginx
	mkdir -p "$TEST_TMP/nginx"
	NGINX_PORT=$(free_port)
	NGINX_URL=http://127.0.0.1:$NGINX_PORT
	cat >"$TEST_TMP/nginx/conf" <<CONF
$([ "$(id -u)" -ne 0 ] || echo "user root;")
daemon off; worker_processes 1; pid $TEST_TMP/nginx/pid; error_log $TEST_TMP/nginx/error.log;
events { worker_connections 4096; }
http {
	access_log $TEST_TMP/nginx/access.log; sendfile on; keepalive_requests 1000000;
	client_body_temp_path $TEST_TMP/nginx/t1; proxy_temp_path $TEST_TMP/nginx/t2;
	fastcgi_temp_path $TEST_TMP/nginx/t3; uwsgi_temp_path $TEST_TMP/nginx/t4; scgi_temp_path $TEST_TMP/nginx/t5;
	server { listen 127.0.0.1:$NGINX_PORT; root $SRV; ${1:-} }
}
CONF
	nginx -c "$TEST_TMP/nginx/conf" 2>"$TEST_TMP/nginx/stderr.log" &
	NGINX_PID=$!
	PIDS="$PIDS $NGINX_PID"
	wait_for 10 curl -s -o /dev/null "$NGINX_URL/" || fail "nginx does not start"
}

# httpd_start ARGUMENT...: the server that can lie (tests/lib/httpd.h); sets HTTPD_URL, HTTPD_PID
httpd_start()
{
	[ -x "$TEST_TOOLS/httpd_main" ] || skip "httpd_main has not been built"
	# It serves until its standard input ends, so that gets an end that stays open.
	rm -f "$TEST_TMP/httpd.in" "$TEST_TMP/httpd.out"
	mkfifo "$TEST_TMP/httpd.in"
	exec 8<>"$TEST_TMP/httpd.in"
	# TERM ends it at once, with threads that nobody has joined.
	TSAN_OPTIONS=${TSAN_OPTIONS:-}:report_thread_leaks=0 "$TEST_TOOLS/httpd_main" "$@" <&8 >"$TEST_TMP/httpd.out" 2>"$TEST_TMP/httpd.log" 8>&- &
	HTTPD_PID=$!
	PIDS="$PIDS $HTTPD_PID"
	wait_for 10 test -s "$TEST_TMP/httpd.out" || fail "httpd_main does not start"
	HTTPD_URL=http://127.0.0.1:$(cat "$TEST_TMP/httpd.out")
}

# httpd_set MODE=VALUE[&...]
httpd_set() { curl -sf -o /dev/null -X PUT "$HTTPD_URL/_ctl?$1" || fail "httpd refuses '$1'"; }

# All processes of the server at once, to stop and continue it.
nginx_processes() { echo "$NGINX_PID"; ps -o pid= --ppid "$NGINX_PID"; }

# ---- mounts ----

# vmofs_mount SOURCE [MOUNTPOINT [ARGUMENT...]]: in the background, logging to $LOG
vmofs_mount()
{
	src=$1 where=${2:-$MNT}
	shift; [ $# -eq 0 ] || shift
	# Several loops where races are looked for, the default elsewhere.
	case ${TEST_FLAVOUR:-} in *san) set -- -o threads=3 "$@" ;; esac
	"$VMOFS" mount -o "log-file=$LOG,log-level=debug" "$@" "$src" "$where"
}

vmofs_umount() { "$VMOFS" umount "${1:-$MNT}"; }

# vmofs_stat FIELD [MOUNTPOINT]: as in --json, with dots for what is inside
vmofs_stat()
{
	"$VMOFS" stat --json "${2:-$MNT}" | python3 -c '
import json, sys
v = json.load(sys.stdin)
for k in sys.argv[1].split("."):
    v = v[k]
print(v)' "$1"
}

vmofs_pid() { vmofs_stat pid "${1:-$MNT}"; }
# Ended, if perhaps not yet collected by its parent.
is_gone() { case $(sed -n 's/^State:[^A-Z]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) in ''|Z|X) ;; *) false ;; esac; }
is_mounted() { findmnt -rn -t fuse.vmofs "${1:-$MNT}" >/dev/null; }

# read_at FILE OFFSET LENGTH: to standard output; fails with the errno's name on standard error
read_at()
{
	python3 -c '
import errno, os, sys
try:
    f = os.open(sys.argv[1], os.O_RDONLY)
    os.posix_fadvise(f, 0, 0, os.POSIX_FADV_RANDOM)
    off, left = int(sys.argv[2]), int(sys.argv[3])
    while left:
        b = os.pread(f, left, off)
        if not b:
            break
        sys.stdout.buffer.write(b)
        off += len(b)
        left -= len(b)
except OSError as e:
    sys.exit(errno.errorcode[e.errno])' "$@"
}

# get_xattr FILE NAME
get_xattr() { python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], sys.argv[2]).decode())' "$1" "$2"; }

# ---- assertions ----

assert_eq() # WANT GOT [WHAT]
{
	[ "$1" = "$2" ] || fail "${3:-value}: expected '$1', got '$2'"
}

assert_between() # LOW VALUE HIGH [WHAT]
{
	awk -v l="$1" -v v="$2" -v h="$3" 'BEGIN { exit !(l <= v && v <= h) }' ||
		fail "${4:-value}: $2 is not between $1 and $3"
}

assert_match() # PATTERN TEXT [WHAT]
{
	printf '%s\n' "$2" | grep -qE -- "$1" || fail "${3:-text}: '$2' does not match '$1'"
}

assert_same_file() # A B
{
	cmp "$1" "$2" || fail "'$1' and '$2' differ"
}

# assert_same_side_by_side A B ROUNDS: eight readers at once, half of them in order from different places and half at
# random; after each of its rounds a reader makes the kernel forget what it has of A
assert_same_side_by_side()
{
	python3 - "$@" <<'PY' || fail "'$1' and '$2' differ"
import os, random, sys, threading
size, bad, seeded = os.stat(sys.argv[2]).st_size, [], [random.Random(i) for i in range(4)]
def in_order(i, a):
    return ((off, 1 << 20) for off in range(i * size // 4, size, 1 << 20))
def at_random(i, a):
    if i % 2:
        os.posix_fadvise(a, 0, 0, os.POSIX_FADV_RANDOM)
    return ((seeded[i].randrange(size), 30000) for _ in range(200))
def reader(places, i):
    a, b = (os.open(p, os.O_RDONLY) for p in sys.argv[1:3])
    try:
        for _ in range(int(sys.argv[3])):
            bad.extend(off for off, n in places(i, a) if os.pread(a, n, off) != os.pread(b, n, off))
            os.posix_fadvise(a, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as e:
        bad.append(e)
ts = [threading.Thread(target=reader, args=(places, i)) for places in (in_order, at_random) for i in range(4)]
for t in ts: t.start()
for t in ts: t.join()
sys.exit("wrong bytes at %s" % bad[:5] if bad else 0)
PY
}

assert_errno() # NAME COMMAND...: fails with this errno
{
	want=$1; shift
	if got=$("$@" 2>&1 >/dev/null); then
		fail "'$*' works, expected $want"
	fi
	assert_match "(^|[^A-Z])$want|$(errno_text "$want")" "$got" "$*"
}

errno_text() { python3 -c 'import errno, os, sys; print(os.strerror(getattr(errno, sys.argv[1])))' "$1"; }

# assert_fails PATTERN COMMAND...: fails and says something that matches
assert_fails()
{
	pattern=$1; shift
	if said=$("$@" 2>&1); then
		fail "'$*' works, expected a failure"
	fi
	assert_match "$pattern" "$said" "$*"
}

# seconds COMMAND...: how long it took, whatever its status; its output goes to standard error
seconds()
{
	begin=$(date +%s%N)
	"$@" >&2 || :
	awk -v t=$(($(date +%s%N) - begin)) 'BEGIN { printf "%.3f\n", t / 1e9 }'
}

# assert_conflict FILE THEIRS: while FILE of $MNT is written, its origin THEIRS gets other contents: fsync tells, and both are as they were written
assert_conflict()
{
	python3 - "$1" "$2" <<'PY' || fail "see above"
import errno, os, sys
with open(sys.argv[1], "r+") as f:
    f.write("mine")
    f.flush()
    with open(sys.argv[2], "w") as other:
        other.write("theirs")
    try:
        os.fsync(f.fileno())
        sys.exit("fsync works")
    except OSError as e:
        assert e.errno == errno.ESTALE, e
PY
	assert_eq theirs "$(cat "$2")" "what somebody else stored"
	assert_eq mine "$(head -c 4 "$1")" "what is here"
	"$VMOFS" conflicts "$MNT" | grep -q "${1##*/}" || fail "the conflict is not told"
}
