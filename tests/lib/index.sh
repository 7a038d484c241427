# SPDX-License-Identifier: Apache-2.0
#
# Servers with index pages, for cases that have sourced common.sh: each serves $SRV and sets INDEX_URL.

index_start_nginx() # [DIRECTIVES]
{
	nginx_start "autoindex on; ${1:-}"
	INDEX_URL=$NGINX_URL
}

index_start_lighttpd()
{
	need lighttpd
	port=$(free_port)
	INDEX_URL=http://127.0.0.1:$port
	cat >"$TEST_TMP/lighttpd.conf" <<-CONF
		server.document-root = "$SRV"
		server.port = $port
		server.bind = "127.0.0.1"
		server.modules = ("mod_accesslog", "mod_dirlisting")
		accesslog.filename = "$TEST_TMP/access.log"
		dir-listing.activate = "enable"
		mimetype.assign = ("" => "application/octet-stream")
	CONF
	lighttpd -D -f "$TEST_TMP/lighttpd.conf" >"$TEST_TMP/lighttpd.log" 2>&1 &
	PIDS="$PIDS $!"
	wait_for 10 curl -s -o /dev/null "$INDEX_URL/" || fail "lighttpd does not start"
}

index_start_apache() # [INDEX_OPTIONS [DIRECTIVES]]
{
	need apache2
	modules=/usr/lib/apache2/modules
	[ -e $modules/mod_autoindex.so ] || skip "there are no modules of apache in $modules"
	port=$(free_port)
	INDEX_URL=http://127.0.0.1:$port
	mkdir -p "$TEST_TMP/apache"
	cat >"$TEST_TMP/apache/conf" <<-CONF
		ServerRoot "$TEST_TMP/apache"
		ServerName localhost
		PidFile pid
		Mutex file:$TEST_TMP/apache
		DefaultRuntimeDir "$TEST_TMP/apache"
		ErrorLog "$TEST_TMP/apache/error.log"
		Listen 127.0.0.1:$port
		LoadModule mpm_event_module $modules/mod_mpm_event.so
		LoadModule authz_core_module $modules/mod_authz_core.so
		LoadModule dir_module $modules/mod_dir.so
		LoadModule autoindex_module $modules/mod_autoindex.so
		DocumentRoot "$SRV"
		<Directory "$SRV">
		Options +Indexes
		Require all granted
		</Directory>
		IndexOptions ${1:-FancyIndexing}
		${2:-}
	CONF
	apache2 -f "$TEST_TMP/apache/conf" -DFOREGROUND >"$TEST_TMP/apache/log" 2>&1 &
	PIDS="$PIDS $!"
	wait_for 10 curl -s -o /dev/null "$INDEX_URL/" || fail "apache does not start"
}

index_start_caddy()
{
	need caddy
	port=$(free_port)
	INDEX_URL=http://127.0.0.1:$port
	cat >"$TEST_TMP/caddy.conf" <<-CONF
		{
			admin off
			auto_https off
		}
		$INDEX_URL {
			bind 127.0.0.1
			root * $SRV
			file_server browse
		}
	CONF
	XDG_DATA_HOME=$TEST_TMP XDG_CONFIG_HOME=$TEST_TMP caddy run --config "$TEST_TMP/caddy.conf" --adapter caddyfile >"$TEST_TMP/caddy.log" 2>&1 &
	PIDS="$PIDS $!"
	wait_for 20 curl -s -o /dev/null "$INDEX_URL/" || fail "caddy does not start"
}

index_start_python()
{
	port=$(free_port)
	INDEX_URL=http://127.0.0.1:$port
	(cd "$SRV" && exec python3 -m http.server -b 127.0.0.1 "$port") >"$TEST_TMP/python.log" 2>&1 &
	PIDS="$PIDS $!"
	wait_for 10 curl -s -o /dev/null "$INDEX_URL/" || fail "python's server does not start"
}

# Names that are hard to write in a reference, sizes around those that servers round, directories with nothing.
index_make_tree()
{
	python3 - "$SRV" <<-'PY'
		import os, sys
		root = os.fsencode(sys.argv[1])
		def put(name, size):
		    path = os.path.join(root, name if isinstance(name, bytes) else name.encode())
		    os.makedirs(os.path.dirname(path), exist_ok=True)
		    with open(path, "wb") as f:
		        f.write(os.urandom(size))
		    os.utime(path, (1612325106, 1612325106))
		for i, name in enumerate(["plain.txt", "with space.txt", "100%.txt", "50%25.txt", "a%2Fb", "am&amp;p.txt",
		        "quo'te", 'quo"te', "<b>.txt", "hash#1", "query?x=1", "semi;colon", "colon:name", "plus+sign",
		        "back\\slash", "~tilde", "[br]", "{br}", "tab\there", "new-\u00fc\u00ef-\u65e5\u672c", "?C=N;O=D",
		        "x" * 250, "\u00e9" * 100, "sub dir/in side", "sub dir/100%/deep & deeper/x", "q?d/y"]):
		    put(name, 3 + i)
		for size in [0, 1, 972, 973, 1023, 1024, 4096, 9999, 10000, 1234567]:
		    put("size/%d" % size, size)
		os.makedirs(os.path.join(root, b"empty"), exist_ok=True)
		os.makedirs(os.path.join(root, b"sub dir", b"empty too"), exist_ok=True)
	PY
}

# What a tree has: type, size and name of everything, in order.
index_tree() { (cd "$1" && find . -mindepth 1 \( -type d -printf 'd - %P\0' -o -printf '%y %s %P\0' \) | sort -z | tr '\0' '\n'); }

# index_check DIR...: a mount of $INDEX_URL/ shows what $SRV has, in names, sizes and contents.
index_check()
{
	vmofs_mount "$INDEX_URL/" "$MNT" "$@"
	index_tree "$SRV" >"$TEST_TMP/want"
	index_tree "$MNT" >"$TEST_TMP/got"
	diff "$TEST_TMP/want" "$TEST_TMP/got" >&2 || fail "names or sizes differ"
	diff -r "$SRV" "$MNT" >&2 || fail "contents differ"
	vmofs_umount
}

# The same without a mount.
index_check_ls()
{
	(cd "$SRV" && find . -mindepth 1 -type f -printf '%s %P\0' | sort -z | tr '\0' '\n') >"$TEST_TMP/want"
	"$VMOFS" ls -Rlj "$INDEX_URL/" | python3 -c '
import json, sys
rows = [json.loads(line) for line in sys.stdin]
for r in sorted("%d %s" % (r["size"], r["name"]) for r in rows if r["type"] == "file"):
    print(r)' | LC_ALL=C sort >"$TEST_TMP/got"
	LC_ALL=C sort -o "$TEST_TMP/want" "$TEST_TMP/want"
	diff "$TEST_TMP/want" "$TEST_TMP/got" >&2 || fail "vmofs ls shows something else"
}
