/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on one file by several processes, each compared with a model in memory that they share: reads, writes,
 * appends, truncations, holes, zeros, mappings, fsync, reopening, dropped caches. A difference ends it with what was expected, what
 * was there, which operation wrote either, and the last operations on those bytes. One process and one seed is the same run again.
 *
 * What changes the size has the file for itself; other operations lock stripes of a length that divides no page, so that
 * neighbours within a page are written at the same time. Each process has one thread.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "lib/prng.h"

enum { PAGE = 4096, STRIPE = 30011, MAX_STRIPES = 4096, HISTORY = 1 << 16, MAX_PROCESSES = 64 };

enum op {
	OP_READ,
	OP_MAP_READ,
	OP_WRITE,
	OP_MAP_WRITE,
	OP_APPEND,
	OP_TRUNCATE,
	OP_PUNCH,
	OP_ZERO,
	OP_EXTEND,
	OP_SEEK,
	OP_STAT,
	OP_FSYNC,
	OP_REOPEN,
	OP_DROP,
	OP_COMMAND,
	OP_NOPS
};

static const struct {
	const char *name;
	unsigned weight;
} ops[] = {
	[OP_READ] = { "read", 200 },     [OP_MAP_READ] = { "map-read", 60 },
	[OP_WRITE] = { "write", 200 },   [OP_MAP_WRITE] = { "map-write", 40 },
	[OP_APPEND] = { "append", 30 },  [OP_TRUNCATE] = { "truncate", 30 },
	[OP_PUNCH] = { "punch", 20 },    [OP_ZERO] = { "zero", 20 },
	[OP_EXTEND] = { "extend", 10 },  [OP_SEEK] = { "seek", 10 },
	[OP_STAT] = { "stat", 30 },      [OP_FSYNC] = { "fsync", 6 },
	[OP_REOPEN] = { "reopen", 20 },  [OP_DROP] = { "drop", 10 },
	[OP_COMMAND] = { "command", 0 },
};
static_assert(ARRAY_LEN(ops) == OP_NOPS, "one row per operation");

struct done {
	uint64_t seq;
	uint64_t off, len;
	unsigned process;
	enum op op;
};

/* What the processes share. */
struct shared {
	pthread_rwlock_t whole; /* for writing: the size may change */
	pthread_mutex_t stripes[MAX_STRIPES];
	atomic_uint_least64_t seq; /* operations that have begun */
	atomic_uint_least64_t counts[OP_NOPS];
	atomic_bool refused[OP_NOPS]; /* the file system has no such operation */
	atomic_bool failed;
	uint64_t size; /* of the model */
	struct done history[HISTORY];
	unsigned char model[];
};

static struct {
	const char *path, *command;
	uint64_t seed, n_ops, max_len, max_op;
	unsigned processes, command_weight;
	bool drop_all, no_mmap;
} conf = { .seed = 1, .n_ops = 10000, .max_len = 1 << 20, .max_op = 70000, .processes = 4 };

static struct shared *sh;
static unsigned me;
static int fd = -1, append_fd = -1;
static unsigned char *buf;

/* ---- what is written ---- */

/* Differs from operation to operation and from place to place. */
static unsigned char pattern(uint64_t seq, uint64_t off)
{
	struct prng r = { seq * UINT64_C(0x9e3779b97f4a7c15) ^ off >> 3 };

	return (unsigned char)(prng_next(&r) >> (off & 7) * 8) | 1; /* never zero */
}

static void fill(unsigned char *to, uint64_t seq, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		to[i] = pattern(seq, off + i);
}

/* ---- when it goes wrong ---- */

static bool is_of(const struct done *d, uint64_t off, const unsigned char *bytes, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (bytes[i] != pattern(d->seq, off + i))
			return false;
	return off >= d->off && off < d->off + d->len;
}

static void print_done(const struct done *d)
{
	fprintf(stderr, "  #%" PRIu64 " by %u: %s [%" PRIu64 ", %" PRIu64 ")\n", d->seq, d->process,
		ops[d->op].name, d->off, d->off + d->len);
}

static const struct done *history_at(uint64_t seq)
{
	const struct done *d = &sh->history[seq % HISTORY];

	return d->seq == seq ? d : NULL;
}

/* Who wrote these bytes: four of them are enough to know. */
static void print_writer(const char *what, uint64_t off, const unsigned char *bytes, uint64_t n)
{
	uint64_t last = sh->seq, zeros = 0;

	while (zeros < n && !bytes[zeros])
		zeros++;
	fprintf(stderr, "%s:", what);
	for (uint64_t i = 0; i < MIN(n, 16u); i++)
		fprintf(stderr, " %02x", bytes[i]);
	fprintf(stderr, "%s\n", zeros == n ? " (zeros)" : "");
	for (uint64_t seq = last; zeros < n && seq > 0 && last - seq < HISTORY; seq--) {
		const struct done *d = history_at(seq);

		if (d && is_of(d, off, bytes, MIN(n, 4u))) {
			print_done(d);
			return;
		}
	}
}

static void print_history(uint64_t off, uint64_t len)
{
	uint64_t last = sh->seq, shown = 0;

	fprintf(stderr, "the last operations on those bytes or on all, newest first:\n");
	for (uint64_t seq = last; seq > 0 && last - seq < HISTORY && shown < 40; seq--) {
		const struct done *d = history_at(seq);

		if (!d || (d->len && (d->off >= off + len || d->off + d->len <= off)))
			continue;
		print_done(d);
		shown++;
	}
}

/* Only the first that finds something says so. */
static _Noreturn void broken(const char *what, enum op op, uint64_t off, uint64_t len)
{
	if (!atomic_exchange(&sh->failed, true)) {
		fprintf(stderr,
			"fsx_like: process %u: %s of [%" PRIu64 ", %" PRIu64 "): %s (seed %" PRIu64
			", size %" PRIu64 ")\n",
			me, ops[op].name, off, off + len, what, conf.seed, sh->size);
		print_history(off, MAX(len, 1u));
	}
	_exit(1);
}

static _Noreturn void broken_errno(const char *what, enum op op, uint64_t off, uint64_t len)
{
	char text[200];

	snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
	broken(text, op, off, len);
}

static void compare(enum op op, const unsigned char *got, uint64_t off, uint64_t len)
{
	const unsigned char *want = sh->model + off;
	uint64_t first = 0, bad = 0;

	if (!memcmp(got, want, len))
		return;
	while (got[first] == want[first])
		first++;
	for (uint64_t i = first; i < len; i++)
		bad += got[i] != want[i];
	if (atomic_exchange(&sh->failed, true))
		_exit(1);
	fprintf(stderr,
		"fsx_like: process %u: %s of [%" PRIu64 ", %" PRIu64 "): %" PRIu64
		" bytes differ, the first at %" PRIu64 " (seed %" PRIu64 ", size %" PRIu64 ")\n",
		me, ops[op].name, off, off + len, bad, off + first, conf.seed, sh->size);
	print_writer("expected", off + first, want + first, MIN(len - first, 64u));
	print_writer("there is", off + first, got + first, MIN(len - first, 64u));
	print_history(off + first, 1);
	_exit(1);
}

/* ---- locks ---- */

static void lock_range(uint64_t off, uint64_t len)
{
	for (uint64_t i = off / STRIPE; i <= (off + len - 1) / STRIPE; i++)
		pthread_mutex_lock(&sh->stripes[i]);
}

static void unlock_range(uint64_t off, uint64_t len)
{
	for (uint64_t i = off / STRIPE; i <= (off + len - 1) / STRIPE; i++)
		pthread_mutex_unlock(&sh->stripes[i]);
}

static uint64_t begin(enum op op, uint64_t off, uint64_t len)
{
	uint64_t seq = atomic_fetch_add(&sh->seq, 1) + 1;

	sh->history[seq % HISTORY] = (struct done){ seq, off, len, me, op };
	sh->counts[op]++;
	return seq;
}

/* ---- the operations; each returns with the locks it came with ---- */

static void open_both(void)
{
	if (fd >= 0)
		close(fd);
	if (append_fd >= 0)
		close(append_fd);
	fd = open(conf.path, O_RDWR | O_CLOEXEC);
	append_fd = open(conf.path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0 || append_fd < 0)
		broken_errno("open", OP_REOPEN, 0, 0);
}

static void do_read(uint64_t off, uint64_t len)
{
	ssize_t n;

	begin(OP_READ, off, len);
	n = pread(fd, buf, len, (off_t)off);
	if (n < 0)
		broken_errno("pread", OP_READ, off, len);
	if ((uint64_t)n != MIN(len, sh->size - off))
		broken("short", OP_READ, off, (uint64_t)n);
	compare(OP_READ, buf, off, (uint64_t)n);
}

static void do_write(uint64_t off, uint64_t len)
{
	uint64_t seq = begin(OP_WRITE, off, len);
	ssize_t n;

	fill(buf, seq, off, len);
	n = pwrite(fd, buf, len, (off_t)off);
	if (n < 0)
		broken_errno("pwrite", OP_WRITE, off, len);
	if ((uint64_t)n != len)
		broken("short", OP_WRITE, off, (uint64_t)n);
	memcpy(sh->model + off, buf, len);
	sh->size = MAX(sh->size, off + len);
}

static void do_append(uint64_t len)
{
	uint64_t off = sh->size, seq = begin(OP_APPEND, off, len);

	fill(buf, seq, off, len);
	if (write(append_fd, buf, len) != (ssize_t)len)
		broken_errno("write", OP_APPEND, off, len);
	memcpy(sh->model + off, buf, len);
	sh->size += len;
}

static void do_map(enum op op, uint64_t off, uint64_t len)
{
	uint64_t from = off / PAGE * PAGE, seq = begin(op, off, len);
	bool writes = op == OP_MAP_WRITE;
	unsigned char *p = mmap(NULL, off + len - from, writes ? PROT_READ | PROT_WRITE : PROT_READ,
				MAP_SHARED, fd, (off_t)from);

	if (p == MAP_FAILED)
		broken_errno("mmap", op, off, len);
	compare(op, p + (off - from), off, len);
	if (writes) {
		fill(p + (off - from), seq, off, len);
		memcpy(sh->model + off, p + (off - from), len);
	}
	munmap(p, off + len - from);
}

/* A fallocate that changes what is there, and perhaps the size. */
static void do_fallocate(enum op op, uint64_t off, uint64_t len)
{
	static const int modes[] = {
		[OP_PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		[OP_ZERO] = FALLOC_FL_ZERO_RANGE,
		[OP_EXTEND] = 0,
	};

	begin(op, off, len);
	if (fallocate(fd, modes[op], (off_t)off, (off_t)len) < 0) {
		if (errno != EOPNOTSUPP)
			broken_errno("fallocate", op, off, len);
		sh->refused[op] = true;
		return;
	}
	if (op == OP_PUNCH)
		len = off < sh->size ? MIN(len, sh->size - off) : 0;
	if (op != OP_EXTEND)
		memset(sh->model + off, 0, len);
	if (op != OP_PUNCH)
		sh->size = MAX(sh->size, off + len);
}

static void do_truncate(uint64_t size)
{
	begin(OP_TRUNCATE, MIN(size, sh->size), MAX(size, sh->size) - MIN(size, sh->size));
	if (ftruncate(fd, (off_t)size) < 0)
		broken_errno("ftruncate", OP_TRUNCATE, size, 0);
	if (size < sh->size)
		memset(sh->model + size, 0, sh->size - size);
	sh->size = size;
}

/* Where SEEK_HOLE and SEEK_DATA say that there is nothing, there are zeros. */
static void do_seek(void)
{
	off_t hole = 0, data = 0;

	begin(OP_SEEK, 0, sh->size);
	for (unsigned i = 0; i < 64 && sh->size; i++) {
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < data)
			broken_errno("SEEK_HOLE", OP_SEEK, (uint64_t)data, 0);
		if ((uint64_t)hole >= sh->size)
			return;
		data = lseek(fd, hole, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			broken_errno("SEEK_DATA", OP_SEEK, (uint64_t)hole, 0);
		for (uint64_t at = (uint64_t)hole; at < (data < 0 ? sh->size : (uint64_t)data);
		     at++)
			if (sh->model[at])
				broken("a hole where bytes are", OP_SEEK, at, 1);
		if (data < 0)
			return;
	}
}

static void do_stat(void)
{
	struct stat st;

	begin(OP_STAT, 0, 0);
	if (fstat(fd, &st) < 0)
		broken_errno("fstat", OP_STAT, 0, 0);
	if ((uint64_t)st.st_size != sh->size)
		broken("another size", OP_STAT, 0, (uint64_t)st.st_size);
}

/* Dropping everything costs the whole machine a quarter of a second: rarely. */
static void do_drop(struct prng *r)
{
	int drop;

	begin(OP_DROP, 0, 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (!conf.drop_all || prng_below(r, 20))
		return;
	drop = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (drop < 0 || write(drop, "1", 1) != 1)
		broken_errno("drop_caches", OP_DROP, 0, 0);
	close(drop);
}

static void do_fsync(void)
{
	begin(OP_FSYNC, 0, 0);
	if (fsync(fd) < 0)
		broken_errno("fsync", OP_FSYNC, 0, 0);
}

static void do_command(void)
{
	begin(OP_COMMAND, 0, 0);
	if (system(conf.command) != 0)
		broken("it fails", OP_COMMAND, 0, 0);
}

static void do_small(struct prng *r, enum op op)
{
	switch (op) {
	case OP_STAT:
		do_stat();
		break;
	case OP_FSYNC:
		do_fsync();
		break;
	case OP_REOPEN:
		begin(op, 0, 0);
		open_both();
		break;
	case OP_DROP:
		do_drop(r);
		break;
	default:
		do_command();
		break;
	}
}

/* ---- choosing ---- */

static enum op choose(struct prng *r)
{
	uint64_t all = conf.command_weight, at;

	for (unsigned i = 0; i < OP_NOPS; i++)
		all += ops[i].weight;
	at = prng_below(r, all);
	for (unsigned i = 0; i < OP_NOPS; i++) {
		if (at < ops[i].weight)
			return i;
		at -= ops[i].weight;
	}
	return OP_COMMAND;
}

/* Now and then on page borders, where mistakes are. */
static uint64_t place(struct prng *r, uint64_t below)
{
	uint64_t at = prng_below(r, below);

	return prng_chance(r, 25) ? at / PAGE * PAGE : at;
}

static uint64_t length(struct prng *r, uint64_t most)
{
	uint64_t len = prng_chance(r, 70) ? prng_below(r, 9000) : prng_below(r, conf.max_op);

	if (prng_chance(r, 20))
		len = (len + PAGE - 1) / PAGE * PAGE;
	return MIN(MAX(len, 1u), most);
}

static void resize_op(struct prng *r, enum op op)
{
	uint64_t off = place(r, conf.max_len), len = length(r, conf.max_len - off);

	switch (op) {
	case OP_APPEND:
		if (sh->size < conf.max_len)
			do_append(length(r, conf.max_len - sh->size));
		break;
	case OP_TRUNCATE:
		do_truncate(prng_chance(r, 5) ? 0 : off);
		break;
	case OP_WRITE:
		do_write(off, len);
		break;
	case OP_SEEK:
		do_seek();
		break;
	default:
		do_fallocate(op, off, len);
	}
}

/*
 * A page that is mapped and written while a range that ends within it is zeroed: the kernel may write it back between the
 * daemon's zeroing and its own, which does not make the page dirty. So they keep out of each other's pages.
 */
static bool needs_whole_pages(enum op op)
{
	return op == OP_MAP_WRITE || op == OP_ZERO || op == OP_PUNCH;
}

/* Within the size, beside others. */
static void range_op(struct prng *r, enum op op)
{
	uint64_t off, len, from, end;

	if (!sh->size)
		return;
	off = place(r, sh->size);
	len = length(r, sh->size - off);
	from = needs_whole_pages(op) ? off / PAGE * PAGE : off;
	end = needs_whole_pages(op) ? (off + len + PAGE - 1) / PAGE * PAGE : off + len;
	lock_range(from, end - from);
	switch (op) {
	case OP_READ:
		do_read(off, len);
		break;
	case OP_WRITE:
		do_write(off, len);
		break;
	case OP_MAP_READ:
	case OP_MAP_WRITE:
		do_map(op, off, len);
		break;
	default:
		do_fallocate(op, off, len);
	}
	unlock_range(from, end - from);
}

static void one_op(struct prng *r)
{
	enum op op = choose(r);
	bool resizes = op == OP_APPEND || op == OP_TRUNCATE || op == OP_EXTEND || op == OP_SEEK ||
		((op == OP_WRITE || op == OP_ZERO || op == OP_PUNCH) && prng_chance(r, 25));

	if (sh->refused[op] || (conf.no_mmap && op == OP_MAP_WRITE))
		return;
	if (resizes)
		pthread_rwlock_wrlock(&sh->whole);
	else
		pthread_rwlock_rdlock(&sh->whole);
	if (resizes)
		resize_op(r, op);
	else if (op >= OP_STAT)
		do_small(r, op);
	else
		range_op(r, op);
	pthread_rwlock_unlock(&sh->whole);
}

/* ---- the whole ---- */

static void check_all(void)
{
	for (uint64_t off = 0; off < sh->size; off += conf.max_op)
		do_read(off, MIN(conf.max_op, sh->size - off));
	do_stat();
}

static void run(unsigned index)
{
	struct prng r = { conf.seed * 1000003 + index };

	me = index;
	open_both();
	while (!sh->failed && sh->seq < conf.n_ops)
		one_op(&r);
	_exit(sh->failed);
}

static void setup(void)
{
	pthread_rwlockattr_t ra;
	pthread_mutexattr_t ma;
	size_t len = sizeof *sh + conf.max_len;

	sh = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	buf = malloc(conf.max_op + PAGE);
	if (sh == MAP_FAILED || !buf) {
		perror("fsx_like: memory");
		exit(2);
	}
	pthread_rwlockattr_init(&ra);
	pthread_rwlockattr_setpshared(&ra, PTHREAD_PROCESS_SHARED);
	pthread_rwlockattr_setkind_np(&ra, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&sh->whole, &ra);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	for (unsigned i = 0; i < MAX_STRIPES; i++)
		pthread_mutex_init(&sh->stripes[i], &ma);
}

/* The file as it is now is where the model begins. */
static void load(void)
{
	struct stat st;
	ssize_t n;
	uint64_t done = 0;
	int in = open(conf.path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (in < 0 || fstat(in, &st) < 0 || (uint64_t)st.st_size > conf.max_len) {
		fprintf(stderr, "fsx_like: cannot begin with '%s': %s\n", conf.path,
			in < 0 ? strerror(errno) : "it is longer than -l allows");
		exit(2);
	}
	while ((n = pread(in, sh->model + done, conf.max_len - done, (off_t)done)) > 0)
		done += (uint64_t)n;
	if (n < 0 || done != (uint64_t)st.st_size) {
		perror("fsx_like: cannot read the file");
		exit(2);
	}
	sh->size = done;
	close(in);
}

static void arguments(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "s:n:p:l:o:DMx:w:")) != -1) {
		switch (c) {
		case 's':
			conf.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			conf.n_ops = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			conf.processes = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'l':
			conf.max_len = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			conf.max_op = strtoull(optarg, NULL, 0);
			break;
		case 'D':
			conf.drop_all = true;
			break;
		case 'M':
			conf.no_mmap = true;
			break;
		case 'x':
			conf.command = optarg;
			conf.command_weight = conf.command_weight ? conf.command_weight : 3;
			break;
		case 'w':
			conf.command_weight = (unsigned)strtoul(optarg, NULL, 0);
			break;
		default:
			optind = argc + 1;
		}
	}
	if (optind != argc - 1 || !conf.processes || conf.processes > MAX_PROCESSES ||
	    conf.max_len / STRIPE + 1 > MAX_STRIPES || !conf.max_len || conf.max_op < PAGE) {
		fprintf(stderr,
			"usage: fsx_like [-s SEED] [-n OPERATIONS] [-p PROCESSES] [-l LONGEST-FILE] [-o LONGEST-OPERATION]\n"
			"                [-D (drop all caches of the kernel)] [-M (no stores through mappings)]\n"
			"                [-x COMMAND (now and then)] [-w ITS-WEIGHT] FILE\n");
		exit(2);
	}
	conf.path = argv[optind];
}

int main(int argc, char **argv)
{
	pid_t pids[MAX_PROCESSES];
	int status, bad = 0;

	arguments(argc, argv);
	setup();
	load();
	for (unsigned i = 0; i < conf.processes; i++) {
		pids[i] = fork();
		if (!pids[i])
			run(i);
	}
	for (unsigned i = 0; i < conf.processes; i++) {
		pid_t ended = wait(&status);

		if (ended < 0 || !status)
			continue;
		/* It may hold a lock that others wait for. */
		for (unsigned k = 0; !bad && k < conf.processes; k++)
			if (pids[k] != ended)
				kill(pids[k], SIGKILL);
		bad = 1;
	}
	if (bad)
		return 1;
	me = conf.processes;
	open_both();
	check_all();
	for (unsigned i = 0; i < OP_NOPS; i++)
		printf("%s %" PRIu64 "%s ", ops[i].name, (uint64_t)sh->counts[i],
		       sh->refused[i] ? " (refused)" : "");
	printf("size %" PRIu64 "\n", sh->size);
	return 0;
}
