# SPDX-License-Identifier: Apache-2.0
#
# S3 servers for cases: radosgw without a cluster (it verifies signatures) and moto (it has every feature and
# verifies nothing), both from the folder that conf/setup.sh --s3 prepares, and a client that is not ours.
# Sourced after common.sh. Several servers may run at once; each is ended by its id.

S3_ROOT=${VMOFS_TEST_CACHE:-/var/cache/vmofs-tests}/radosgw-root
S3_CLIENT="/usr/bin/python3 $TEST_LIB/s3_client.py"
S3_KEY=TESTKEY00000000000AB S3_SECRET=test/secret+of=the/first+user
S3_N=0
export S3_URL S3_KEY S3_SECRET

# What the machine's own environment says of S3 is none of a case's business, and nobody is asked for
# credentials but the case's own servers.
for name in $(env | sed -n 's/^\(AWS_[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done
export AWS_EC2_METADATA_DISABLED=true

need_s3()
{
	[ "$(id -u)" -eq 0 ] || skip "no S3 server: chroot needs root"
	[ -e "$S3_ROOT/stamp" ] || skip "no S3 server: 'sh conf/setup.sh --s3' prepares one, or says why it cannot"
}

# s3_chroot DIR COMMAND...: with DIR as /srv; ended after S3_WITHIN seconds where that is set
s3_chroot()
{
	exec ${S3_WITHIN:+timeout -k 1 "$S3_WITHIN"} unshare --mount sh "$TEST_LIB/s3_inside.sh" "$S3_ROOT" "$@"
}

# Once in a few hundred times radosgw-admin waits for itself for ever: such a one is ended, and tried again.
s3_admin()
{
	(S3_WITHIN=30 && s3_chroot "$S3_DIR" radosgw-admin -c /srv/ceph.conf -n client.rgw --no-mon-config "$@") >>"$S3_DIR/admin.out" 2>&1
}

s3_user() # NAME KEY SECRET
{
	for _ in 1 2 3; do
		s3_admin user create --uid="$1" --display-name="$1" --access-key="$2" --secret-key="$3" ||
			s3_admin user info --uid="$1" || continue
		return 0
	done
	cat "$S3_DIR/admin.out" >&2
	fail "radosgw-admin makes no user"
}

# s3_start [LINE...]: a radosgw with these further lines in its configuration. Sets S3_URL, S3_PORT, S3_PID, S3_LOG, S3_DIR
s3_start()
{
	need_s3
	for _ in 1 2 3; do
		s3_configure "$@"
		s3_user test "$S3_KEY" "$S3_SECRET"
		(s3_chroot "$S3_DIR" radosgw -c /srv/ceph.conf -n client.rgw -f --no-mon-config) >"$S3_DIR/stderr.log" 2>&1 &
		S3_PID=$!
		PIDS="$PIDS $S3_PID"
		! wait_for 20 s3_answers || return 0
		kill -9 "$S3_PID" 2>/dev/null || : # the port was taken meanwhile, or it waits for itself as above
	done
	tail "$S3_DIR"/*.log >&2
	fail "radosgw does not start"
}

s3_configure()
{
	S3_N=$((S3_N + 1)) S3_DIR=$TEST_TMP/s3.$S3_N S3_LOG=$TEST_TMP/s3.$S3_N/rgw.log
	mkdir -p "$S3_DIR/db" "$S3_DIR/posix" "$S3_DIR/run"
	S3_PORT=$(free_port) S3_URL=http://127.0.0.1:$S3_PORT
	{ sed "s/@PORT@/$S3_PORT/" "$TEST_LIB/radosgw.conf"; printf '%s\n' "$@"; } >"$S3_DIR/ceph.conf"
}

# s3_start_moto: the same for moto; any key is right
s3_start_moto()
{
	need_s3
	S3_N=$((S3_N + 1)) S3_DIR=$TEST_TMP/s3.$S3_N S3_LOG=$TEST_TMP/s3.$S3_N/moto.log
	mkdir -p "$S3_DIR"
	S3_PORT=$(free_port) S3_URL=http://127.0.0.1:$S3_PORT
	cp "$TEST_LIB/moto_atomic.py" "$S3_DIR"
	(s3_chroot "$S3_DIR" python3 /srv/moto_atomic.py -H 127.0.0.1 -p "$S3_PORT") >"$S3_LOG" 2>&1 &
	S3_PID=$!
	PIDS="$PIDS $S3_PID"
	wait_for 90 s3_answers || { tail "$S3_LOG" >&2; fail "moto does not start"; }
}

# By its process too: another one may have got the port first.
s3_answers() { kill -0 "$S3_PID" && curl -s -o /dev/null "$S3_URL/"; }

# s3_front [FOR-LOCATION [FOR-SERVER]]: nginx before the server, which stays in S3_BEHIND; S3_URL and S3_LOG are the
# front's; the directives go before the one that passes requests on, and beside its location. The Host that was signed goes through, so signatures still verify.
s3_front()
{
	S3_BEHIND=$S3_URL
	nginx_start "${2:-}
		location / { ${1:-} proxy_pass $S3_BEHIND; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off;
			proxy_set_header Host \$http_host; client_max_body_size 0; }"
	S3_URL=$NGINX_URL S3_LOG=$TEST_TMP/nginx/access.log
}

# s3_env: what a user of this server has in the environment
s3_env()
{
	export AWS_ACCESS_KEY_ID=$S3_KEY AWS_SECRET_ACCESS_KEY=$S3_SECRET AWS_ENDPOINT_URL=$S3_URL AWS_REGION=us-east-1
}

# The client has its own key, whatever AWS_* says meanwhile; its subcommands stand in s3_client.py.
s3() { env -u AWS_PROFILE -u AWS_CONFIG_FILE -u AWS_ENDPOINT_URL HOME=/nonexistent $S3_CLIENT "$@"; }
s3_mb() { s3 mb "$@"; }             # BUCKET [versioned] [public]
s3_put() { s3 put "$@"; }           # FILE s3://BUCKET/KEY [NAME=VALUE of metadata]...; - is standard input
s3_sync() { s3 sync "$@"; }         # DIR s3://BUCKET/PREFIX
s3_fill() { s3 fill "$@"; }         # s3://BUCKET/PREFIX KEYS DIRECTORIES: dNNN/fNNNNN, the key itself in each
s3_rm() { s3 rm "$@"; }             # s3://BUCKET/KEY...

# s3_mark, then s3_count PATTERN: log lines that match since; a line is written when its answer is out
s3_mark() { sleep 0.3; S3_MARK=$(grep -c '' "$S3_LOG" || :); }
s3_lines() { tail -n +$((${S3_MARK:-0} + 1)) "$S3_LOG" | sed 's/\x1b\[[0-9;]*m//g'; } # moto's are coloured
s3_count() { sleep 0.3; s3_lines | grep -cE -- "$1" || :; }
# s3_log: the same lines, for a failure's message
s3_log() { s3_lines | sed -n 's/.*"\([A-Z]* [^"]*\)" \([0-9]*\).*/\2 \1/p'; }
S3_LISTS='"GET [^"]*[?&](list-type=2|prefix=|delimiter=)' S3_HEADS='"HEAD ' S3_ALL='"[A-Z]+ [^"]*HTTP/'

# s3_listd_start ARGUMENT...: the server of computed keys (tools/s3_listd.c); sets S3_URL, S3_PID
s3_listd_start()
{
	[ -x "$TEST_TOOLS/s3_listd" ] || skip "s3_listd has not been built"
	S3_N=$((S3_N + 1))
	"$TEST_TOOLS/s3_listd" "$@" >"$TEST_TMP/listd.$S3_N" 2>"$TEST_TMP/listd.$S3_N.log" &
	S3_PID=$!
	PIDS="$PIDS $S3_PID"
	wait_for 10 test -s "$TEST_TMP/listd.$S3_N" || fail "s3_listd does not start"
	S3_URL=http://127.0.0.1:$(cat "$TEST_TMP/listd.$S3_N")
}

# s3_listd_stat NAME: requests, lists, gets, heads, slowdowns, peak, connections
s3_listd_stat() { curl -sf "$S3_URL/_stats" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
