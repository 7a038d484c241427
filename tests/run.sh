#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds and tests everything; tests/README.md is its manual. The last line of its output is
# "N passed, N failed, N skipped", and its status is 0 when nothing failed.
set -u

ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 2
PATH=$PATH:/usr/sbin:/sbin
GROUPS_ALL="lint gcc clang asan tsan fuzz docker"
JOBS=${JOBS:-$(nproc)}
CASE_JOBS=${CASE_JOBS:-2}
CASE_TIMEOUT=${CASE_TIMEOUT:-120}
FUZZ_SECONDS=${FUZZ_SECONDS:-20}

usage()
{
	cat <<EOF
usage: sh tests/run.sh [--quick] [GROUP | CASE | FLAVOUR:CASE]...
  groups: $GROUPS_ALL (all by default; --quick: lint gcc)
  CASE is a file below tests/cases, FLAVOUR is gcc, asan or tsan
EOF
}

# -- results: one line "pass|fail|skip GROUP NAME" each, in $RESULTS -----------------------------

result() # pass|fail|skip GROUP NAME [REASON]
{
	printf '%s %s %s\n' "$1" "$2" "$3" >>"$RESULTS"
	case $1 in
	pass) printf '  ok    %s\n' "$3" ;;
	skip) printf '  skip  %s: %s\n' "$3" "${4:-no reason given}" ;;
	fail) printf '  FAIL  %s%s\n' "$3" "${4:+: $4}" ;;
	esac
}

count() { grep -c "^$1 " "$RESULTS"; }

finish()
{
	echo
	printf '%s passed, %s failed, %s skipped\n' "$(count pass)" "$(count fail)" "$(count skip)"
	[ "$(count fail)" -eq 0 ]
	exit
}

# show_log FILE [LINES]: the end of a log, indented
show_log() { tail -n "${2:-40}" "$1" | sed 's/^/        | /'; }

# -- building ------------------------------------------------------------------------------------

build_dir()
{
	case $1 in gcc) echo build ;; *) echo "build/$1" ;; esac
}

cmake_args()
{
	case $1 in
	gcc)   echo "-DCMAKE_BUILD_TYPE=RelWithDebInfo" ;;
	clang) echo "-DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang" ;;
	asan)  echo "-DCMAKE_BUILD_TYPE=Debug -DVMOFS_SANITIZE=address,undefined" ;;
	tsan)  echo "-DCMAKE_BUILD_TYPE=Debug -DVMOFS_SANITIZE=thread" ;;
	fuzz)  echo "-DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang -DVMOFS_FUZZ=ON -DVMOFS_SANITIZE=address,undefined" ;;
	esac
}

# build FLAVOUR [TARGET...]: quiet when it works
build()
{
	flavour=$1; shift
	dir=$(build_dir "$flavour")
	generator=
	[ -e "$dir/CMakeCache.txt" ] || generator="-G Ninja"
	mkdir -p "$dir"
	# shellcheck disable=SC2046,SC2086  # lists of words
	{
		cmake -S . -B "$dir" $generator -DVMOFS_WERROR=ON -DVMOFS_TESTS=ON $(cmake_args "$flavour") &&
			cmake --build "$dir" -j "$JOBS" ${1:+--target "$@"}
	} >"$dir/build.log" 2>&1 && return 0
	show_log "$dir/build.log"
	return 1
}

# ASLR with many bits is more than ThreadSanitizer can place its shadow in.
sanitizer_env()
{
	wrap=
	[ "$1" != tsan ] || ! setarch -R true 2>/dev/null || wrap="setarch -R"
	supp=
	[ ! -e tests/lib/tsan.supp ] || supp=":suppressions=$ROOT/tests/lib/tsan.supp"
	ASAN_OPTIONS="detect_stack_use_after_return=1:exitcode=99${2:+:log_path=$2}"
	UBSAN_OPTIONS="print_stacktrace=1:exitcode=99${2:+:log_path=$2}"
	TSAN_OPTIONS="second_deadlock_stack=1:exitcode=99$supp${2:+:log_path=$2}"
	export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS
}

# -- programs under ctest ------------------------------------------------------------------------

# Turns ctest's report into "pass|fail|skip PROGRAM[/TEST]". A cmocka program counts by its tests,
# another one as a whole; cmocka names the failed ones again after its "test(s) run" line.
read_junit()
{
	awk '
	/<testcase / {
		name = $0; sub(/.*<testcase name="/, "", name); sub(/".*/, "", name);
		status = $0; sub(/.*status="/, "", status); sub(/".*/, "", status);
		oks = fails = skips = 0; counting = 1;
	}
	/\[==========\] .*Running/ { counting = 1 }
	/\[==========\] .*run\./ { counting = 0 }
	counting && /\[       OK \]/ { oks++; report("pass") }
	counting && /\[  FAILED  \]/ { fails++; report("fail") }
	counting && /\[  SKIPPED \]/ { skips++; report("skip") }
	/<\/testcase>/ {
		if (status == "fail" && !fails)
			print "fail " name;
		else if (status != "run" && status != "fail")
			print "skip " name;
		else if (!oks && !fails && !skips)
			print "pass " name;
	}
	function report(what,   test) {
		test = $0; sub(/.*\] */, "", test); sub(/[ :<].*/, "", test);
		print what " " name "/" test;
	}' "$1"
}

run_programs() # FLAVOUR
{
	flavour=$1
	dir=$(build_dir "$flavour")
	sanitizer_env "$flavour"
	[ -e "$dir/tests/CTestTestfile.cmake" ] || { result fail "$flavour" "$flavour/programs" "cmocka is missing"; return; }
	rm -f "$dir/junit.xml"
	# shellcheck disable=SC2086  # no word or several
	$wrap ctest --test-dir "$dir" -j "$JOBS" --output-junit junit.xml --no-tests=error \
		--test-output-size-passed 100000000 --test-output-size-failed 100000000 >"$dir/ctest.log" 2>&1
	read_junit "$dir/junit.xml" >"$dir/ctest.results" 2>/dev/null
	[ -s "$dir/ctest.results" ] || { show_log "$dir/ctest.log"; result fail "$flavour" "$flavour/programs" "no program ran"; return; }

	sed "s|^\([a-z]*\) |\1 $flavour $flavour/|" "$dir/ctest.results" >>"$RESULTS"
	grep '^skip ' "$dir/ctest.results" | sed "s|^skip |  skip  $flavour/|"
	grep '^fail ' "$dir/ctest.results" | sed "s|^fail |  FAIL  $flavour/|"
	for p in $(sed -n 's/^fail \([^/]*\).*/\1/p' "$dir/ctest.results" | sort -u); do
		awk -v p="\"$p\"" '/<testcase /{ on = index($0, "name=" p) } on' "$dir/junit.xml" >"$dir/$p.log"
		show_log "$dir/$p.log"
		printf '        repro: %sctest --test-dir %s -V -R "^%s$"\n' "${wrap:+$wrap }" "$dir" "$p"
	done
	printf '  ok    %s of %s tests in %s programs (%s)\n' "$(grep -c '^pass ' "$dir/ctest.results")" \
		"$(grep -c '' "$dir/ctest.results")" "$(sed 's/^[a-z]* //; s|/.*||' "$dir/ctest.results" | sort -u | grep -c '')" "$flavour"
}

# -- case scripts --------------------------------------------------------------------------------

# Processes whose environment says that they belong to the folder $1.
processes_of()
{
	for e in /proc/[0-9]*/environ; do
		tr '\0' '\n' 2>/dev/null <"$e" | grep -qx "TEST_TMP=$1" || continue
		e=${e#/proc/}
		[ "${e%/environ}" = $$ ] || printf '%s ' "${e%/environ}"
	done 2>/dev/null
}

# A daemon whose mount was taken away may still have memory to give back, and a sanitizer something to say, at most for a while.
wait_ended()
{
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ -n "$(processes_of "$1")" ] || return 0
		sleep 1
	done
}

# What a case leaves behind is ended here, by id, and makes it fail.
clean_after()
{
	left=
	for m in $(findmnt -rno TARGET | grep "^$1" | sort -r); do
		left="$left mount:$m"
		umount -l "$m" 2>/dev/null || fusermount3 -uz "$m" 2>/dev/null
	done
	# A process that is just ending gets a moment.
	pids=$(processes_of "$1")
	pids=${pids:+$(sleep 1; processes_of "$1")}
	for p in $pids; do
		left="$left process:$p($(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null))"
	done
	# shellcheck disable=SC2086  # a list of ids
	[ -z "$pids" ] || kill $pids 2>/dev/null
	pids=${pids:+$(sleep 1; processes_of "$1")}
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill -9 $pids 2>/dev/null
	rm -rf --one-file-system "$1"
}

run_case() # GROUP FLAVOUR FILE
{
	group=$1 flavour=$2 file=$3
	name=$flavour/$(echo "$file" | sed 's|^tests/\(cases/\)\{0,1\}||; s|\.sh$||')
	dir=$(build_dir "$flavour")
	log=$ROOT/$dir/cases/$(echo "$name" | tr / _).log
	mkdir -p "$dir/cases"
	limit=$(sed -n 's/^# TIMEOUT: *\([0-9]*\).*/\1/p' "$file")
	limit=${limit:-$CASE_TIMEOUT}
	case $flavour in asan|tsan) limit=$((limit * 3)) ;; esac

	TEST_TMP=$(mktemp -d "${TMPDIR:-/tmp}/vmofs-case.XXXXXX")
	chmod 755 "$TEST_TMP"
	mkdir -m 1777 "$TEST_TMP/sanitizer"
	sanitizer_env "$flavour" "$TEST_TMP/sanitizer/report"
	start=$(date +%s)
	# shellcheck disable=SC2086  # no word or several
	env VMOFS="$ROOT/$dir/vmofs" TEST_LIB="$ROOT/tests/lib" TEST_TOOLS="$ROOT/$dir/tests/tools" TEST_TMP="$TEST_TMP" \
		BUILD_DIR="$ROOT/$dir" TEST_FLAVOUR="$flavour" VMOFS_SRC="$ROOT" \
		timeout -k 10 "$limit" $wrap bash "$ROOT/$file" >"$log" 2>&1 </dev/null
	status=$?
	took=$(($(date +%s) - start))

	wait_ended "$TEST_TMP"
	# An empty one is the leak check of a process that was ended meanwhile: it says nothing.
	reports=$(find "$TEST_TMP/sanitizer" -type f -size +0)
	if [ -n "$reports" ]; then
		# shellcheck disable=SC2086  # a list of files
		cat $reports >>"$log"
		why="a sanitizer reports"
	elif [ $status -eq 124 ] || [ $status -eq 137 ]; then
		why="no end after $limit s"
	else
		why="status $status"
	fi
	tail -n 20 "$log" >"$log.said"
	if [ $status -ne 0 ] && [ $status -ne 77 ]; then
		find "$TEST_TMP" -xdev -maxdepth 2 -name '*.log' -type f -exec tail -v -n 100 {} + >>"$log"
	fi
	clean_after "$TEST_TMP"
	[ -z "$left" ] || echo "left behind:$left" >>"$log"

	if [ $status -eq 77 ] && [ -z "$reports$left" ]; then
		result skip "$group" "$name" "$(tail -n 1 "$log")"
	elif [ $status -eq 0 ] && [ -z "$reports$left" ]; then
		result pass "$group" "$name ($took s)"
	else
		{
			result fail "$group" "$name" "$why${left:+, and it left behind:$left}"
			show_log "$log.said" 20
			show_log "$log" 60
			printf '        repro: sh tests/run.sh %s:%s   (log: %s)\n' "$flavour" "$file" "${log#"$ROOT"/}"
		} >"$log.say"
		cat "$log.say"
		rm -f "$log.say"
	fi
	rm -f "$log.said"
}

# is_for FILE FLAVOUR: a case may name its flavours; all when it does not
is_for()
{
	of=$(sed -n 's/^# FLAVOURS: *//p' "$1")
	case " ${of:-$2} " in *" $2 "*) ;; *) return 1 ;; esac
}

run_cases() # FLAVOUR
{
	[ -x "$(build_dir "$1")/vmofs" ] || { result fail "$1" "$1/cases" "there is no program to test"; return; }
	for c in $(find tests/cases -name '*.sh' 2>/dev/null | sort); do
		! is_for "$c" "$1" || echo "$c"
	done >"$RESULTS.cases"
	[ -s "$RESULTS.cases" ] || { result skip "$1" "$1/cases" "there are no cases"; return; }
	xargs -P "$CASE_JOBS" -n 1 env RESULTS="$RESULTS" sh tests/run.sh --case "$1" "$1" <"$RESULTS.cases"
}

# -- the groups ----------------------------------------------------------------------------------

run_lint()
{
	build gcc >/dev/null # for the lint that asks the program for its options
	for l in tests/lint/*.sh; do
		name=lint/$(basename "$l" .sh)
		sh "$l" >"$RESULTS.log" 2>&1
		case $? in
		0) result pass lint "$name" ;;
		77) result skip lint "$name" "$(tail -n 1 "$RESULTS.log")" ;;
		*) result fail lint "$name"
			show_log "$RESULTS.log"
			printf '        repro: sh %s\n' "$l" ;;
		esac
	done
}

run_suite() # FLAVOUR
{
	build "$1" || {
		result fail "$1" "$1/build" "see $(build_dir "$1")/build.log"
		return
	}
	result pass "$1" "$1/build"
	run_programs "$1"
	run_cases "$1"
}

run_gcc()  { VM_MODEL_STEPS=${VM_MODEL_STEPS:-1000000}; export VM_MODEL_STEPS; run_suite gcc; }
run_asan() { VM_MODEL_STEPS=${VM_MODEL_STEPS:-100000}; export VM_MODEL_STEPS; run_suite asan; }
run_tsan() { VM_MODEL_STEPS=${VM_MODEL_STEPS:-30000}; export VM_MODEL_STEPS; run_suite tsan; }

run_clang()
{
	if build clang; then
		result pass clang clang/build
	else
		result fail clang clang/build "see build/clang/build.log"
	fi
}

run_fuzz()
{
	targets=$(find tests/fuzz -name 'fuzz_*.c' | sed 's|.*/||; s|\.c$||' | sort)
	[ -n "$targets" ] || { result skip fuzz fuzz "there are no fuzz targets"; return; }
	# shellcheck disable=SC2086  # a list of targets
	build fuzz $targets || { result fail fuzz fuzz/build "see build/fuzz/build.log"; return; }
	echo "$targets" | xargs -P "$JOBS" -n 1 env RESULTS="$RESULTS" sh tests/run.sh --fuzz
}

run_fuzzer() # TARGET
{
	corpus=tests/fuzz/corpus/${1#fuzz_}
	work=build/fuzz/corpus/$1
	mkdir -p "$work" build/fuzz/found
	[ -d "$corpus" ] || corpus=
	if build/fuzz/tests/"$1" -max_total_time="$FUZZ_SECONDS" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/found/$1-" "$work" ${corpus:+"$corpus"} >"build/fuzz/$1.log" 2>&1; then
		result pass fuzz "fuzz/$1 ($(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$1.log") runs)"
	else
		result fail fuzz "fuzz/$1" "keep the input in tests/fuzz/corpus/${1#fuzz_}/ when it is mended"
		show_log "build/fuzz/$1.log"
		printf '        repro: build/fuzz/tests/%s build/fuzz/found/%s-*\n' "$1" "$1"
	fi
}

run_docker()
{
	sh conf/setup.sh --docker || { result skip docker docker "buildah and debootstrap cannot be installed"; return; }
	for c in tests/docker/*.sh; do
		run_case docker gcc "$c"
	done
}

run_group()
{
	echo "== $1"
	since=$(date +%s)
	(run_"$1")
	echo "   $1 took $(($(date +%s) - since)) s"
	done_here=$(grep -cE "^(pass|fail) $1 " "$RESULTS")
	skipped_here=$(grep -c "^skip $1 " "$RESULTS")
	if [ "$done_here" -eq 0 ] && { [ "${CI:-false}" != false ] || [ "$skipped_here" -eq 0 ]; }; then
		result fail "$1" "$1" "nothing of this group ran"
	fi
	# The cases that need an S3 server are a group of their own in this.
	if [ "${CI:-false}" != false ] && grep -q "^skip $1 $1/s3/" "$RESULTS" && ! grep -qE "^(pass|fail) $1 $1/s3/" "$RESULTS"; then
		result fail "$1" "$1/s3" "no case ran: 'sh conf/setup.sh --s3' says why"
	fi
}

# run_one [FLAVOUR:]FILE
run_one()
{
	case $1 in *:*) f=${1%%:*} ;; *) f=gcc ;; esac
	build "$f" || { result fail "$f" "$f/build"; return; }
	run_case "$f" "$f" "${1#*:}"
}

# -- main ----------------------------------------------------------------------------------------

case ${1:-} in
--case) run_case "$2" "$3" "$4"; exit 0 ;;
--fuzz) run_fuzzer "$2"; exit 0 ;;
-h|--help) usage; exit 0 ;;
esac

RESULTS=$(mktemp "${TMPDIR:-/tmp}/vmofs-results.XXXXXX")
trap 'rm -f "$RESULTS" "$RESULTS".*' EXIT
trap 'exit 130' INT TERM

selected=
for arg; do
	case $arg in
	--quick) selected="$selected lint gcc" ;;
	lint|gcc|clang|asan|tsan|fuzz|docker) selected="$selected $arg" ;;
	*/*) selected="$selected $arg"
		[ -f "${arg#*:}" ] || { usage >&2; exit 2; } ;;
	*) usage >&2; exit 2 ;;
	esac
done

sh conf/setup.sh --test || { result fail setup setup "conf/setup.sh failed"; finish; }
for s in ${selected:-$GROUPS_ALL}; do
	case $s in
	*/*) run_one "$s" ;;
	*) run_group "$s" ;;
	esac
done
finish
