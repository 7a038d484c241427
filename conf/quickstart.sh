#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# usage: sh conf/quickstart.sh [URL DIR]
# Without arguments: serves a generated 1 GiB object with nginx on a free loopback port, mounts it, reads parts at
# random and all of it, compares digests with the origin, prints a table, and takes everything down again.
# With arguments: mounts URL on DIR and says how to go on. Builds vmofs first where that has not been done.
# Environment: VMOFS (the program, default build/vmofs), SIZE_MIB (1024), PARTS (2000 random reads).
set -eu

ROOT=$(cd "$(dirname "$0")/.." && pwd)
VMOFS=${VMOFS:-$ROOT/build/vmofs}
SIZE_MIB=${SIZE_MIB:-1024}
PARTS=${PARTS:-2000}
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
die() { printf 'quickstart: error: %s\n' "$*" >&2; exit 1; }

build()
{
	[ ! -x "$VMOFS" ] || return 0
	sh "$ROOT/conf/setup.sh" "$1"
	say "building vmofs"
	{ cmake -S "$ROOT" -B "$ROOT/build" -DVMOFS_TESTS=OFF && cmake --build "$ROOT/build" -j "$(nproc)"; } \
		>"$tmp/build.log" 2>&1 || { tail -n 20 "$tmp/build.log" >&2; die "the build failed"; }
}

clean_up()
{
	[ -z "$mounted" ] || "$VMOFS" umount "$mounted" 2>/dev/null || fusermount3 -uz "$mounted" || :
	[ ! -s "$tmp/nginx.pid" ] || kill "$(cat "$tmp/nginx.pid")" || :
	rm -rf --one-file-system "$tmp"
}

# -- the origin ----------------------------------------------------------------------------------

nginx_conf() # PORT
{
	cat <<EOF
worker_processes 2;
pid $tmp/nginx.pid;
error_log $tmp/nginx.log;
events { worker_connections 512; }
http {
	access_log off;
	sendfile on;
	keepalive_requests 1000000;
	default_type application/octet-stream;
	client_body_temp_path $tmp/body;
	proxy_temp_path $tmp/proxy;
	fastcgi_temp_path $tmp/fastcgi;
	uwsgi_temp_path $tmp/uwsgi;
	scgi_temp_path $tmp/scgi;
	server { listen 127.0.0.1:$1; root $tmp/www; }
}
EOF
}

# Tries ports until nginx gets one; sets $url.
serve()
{
	command -v nginx >/dev/null || sh "$ROOT/conf/setup.sh" --test
	for try in 1 2 3 4 5 6 7 8 9 10; do
		port=$((20000 + ($(od -An -N2 -tu2 /dev/urandom) + try) % 12000))
		nginx_conf $port >"$tmp/nginx.conf"
		if nginx -p "$tmp" -c "$tmp/nginx.conf" -e "$tmp/nginx.log" 2>"$tmp/nginx.err"; then
			url=http://127.0.0.1:$port/object.bin
			return 0
		fi
	done
	cat "$tmp/nginx.err" >&2
	die "nginx does not start"
}

make_object()
{
	free=$(df -Pk "$tmp" | awk 'NR == 2 { print int($4 / 1024) }')
	[ "$free" -gt $((SIZE_MIB + 100)) ] ||
		die "$tmp has room for $free MiB, the object needs $SIZE_MIB (set SIZE_MIB or TMPDIR)"
	mkdir "$tmp/www" "$tmp/mnt"
	head -c "${SIZE_MIB}M" /dev/urandom >"$tmp/www/object.bin"
	chmod 755 "$tmp" "$tmp/www"
	chmod 644 "$tmp/www/object.bin"
}

# -- the readers ---------------------------------------------------------------------------------

# PARTS lines, each the number of a 4 KiB page of the object
make_pages()
{
	od -An -v -N$((PARTS * 4)) -w4 -tu4 /dev/urandom | awk -v n=$((SIZE_MIB * 256)) '{ print $1 % n }'
}

read_parts()
{
	perl -e 'open(F, "<:raw", $ARGV[0]) or die "$ARGV[0]: $!\n";
		while (<STDIN>) {
			sysseek(F, $_ * 4096, 0) && sysread(F, $b, 4096) == 4096 or die "page $_: $!\n";
			print $b;
		}' "$1" <"$tmp/pages"
}

read_all() { dd if="$1" bs=1M 2>/dev/null; }

# number KEY: a number of the JSON in $tmp/stat; KEY may be OUTER.INNER
number()
{
	case $1 in
	*.*) sed -n "s/.*\"${1%.*}\":{[^}]*\"${1#*.}\":\([0-9.]*\).*/\1/p" "$tmp/stat" ;;
	*) sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$tmp/stat" ;;
	esac
}

# run NAME BYTES READER: one line of the table, on a mount of its own, so that each begins with nothing. The digest is
# taken afterwards, so that it costs no time in the table.
run()
{
	"$VMOFS" mount "$url" "$tmp/mnt"
	mounted=$tmp/mnt
	begin=$(date +%s%N)
	"$3" "$mounted/object.bin" >/dev/null
	end=$(date +%s%N)
	"$VMOFS" stat --json "$mounted" | tr -d ' \n\t' >"$tmp/stat"
	same=no
	[ "$("$3" "$mounted/object.bin" | sha256sum)" != "$("$3" "$tmp/www/object.bin" | sha256sum)" ] || same=yes
	"$VMOFS" umount "$mounted"
	mounted=

	awk -v name="$1" -v bytes="$2" -v ns=$((end - begin)) -v same=$same \
		-v asked="$(number bytes_asked)" -v fetched="$(number bytes_fetched)" -v requests="$(number requests)" \
		-v p50="$(number latency_us.p50)" -v p99="$(number latency_us.p99)" 'BEGIN {
		M = 1048576;
		printf "| %-16s | %9.1f | %11.1f | %8d | %7.1f | %6d | %6d | %-11s |\n",
			name, asked / M, fetched / M, requests, bytes / M / (ns / 1e9), p50, p99, same;
	}'
	[ $same = yes ] || die "what was read through the mount differs from the origin"
}

demo()
{
	say "making an object of $SIZE_MIB MiB"
	make_object
	serve
	make_pages >"$tmp/pages"
	say "origin: $url"
	say
	say "| read             | asked MiB | fetched MiB | requests |   MiB/s | p50 us | p99 us | same digest |"
	say "|------------------|-----------|-------------|----------|---------|--------|--------|-------------|"
	run "$PARTS x 4 KiB" $((PARTS * 4096)) read_parts
	run "all of it" $((SIZE_MIB * 1048576)) read_all
	say
	say "Now with an object of yours:  sh conf/quickstart.sh https://host/path/file DIR"
}

mount_url() # URL DIR
{
	[ -d "$2" ] || mkdir -p "$2"
	"$VMOFS" mount "$1" "$2"
	say "mounted $1 on $2:"
	ls -l "$2"
	say
	say "  $VMOFS stat $2      what it has fetched, and how fast"
	say "  $VMOFS umount $2    take it down"
}

mounted=
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmofs-quickstart.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

case $# in
0) build --test; demo ;;
2) build --build; mount_url "$1" "$2" ;;
*) sed -n 's/^# \(usage:.*\)/\1/p' "$0" >&2; exit 2 ;;
esac
