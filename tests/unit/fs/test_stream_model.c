/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The read-ahead at work, in virtual time: readers with a habit, the kernel's page cache and read-ahead as far as they
 * matter, a daemon that holds pages, and an origin with a delay, a bandwidth and a number of connections. Nothing sleeps and
 * nothing is random but by a seed. What is judged: bytes fetched against bytes asked for, and how long it took.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/stream.h"
#include "lib/prng.h"

enum {
	PAGE = 4096,
	PARTS_MAX = 4096,
	READS_MAX = 256,
	READERS_MAX = 64,
};
#define PART    MIB(1) /* of a transfer */
#define REQUEST MIB(1) /* of the kernel */
#define NEVER   UINT64_MAX
#define MSEC    UINT64_C(1000000)

enum page { ABSENT, PENDING, PRESENT };

/* A range on its way from the origin. */
struct part {
	uint64_t first, end; /* pages */
	bool urgent;
	uint64_t done_ns; /* NEVER: it waits for a connection */
};

/* A request of the kernel. */
struct read {
	uint64_t off, len;
	uint64_t start_ns;
	bool waits;
};

enum habit { DIRECT, BUFFERED, MAPPED };

struct reader {
	enum habit habit;
	/* Where it reads next; false: it is done. */
	bool (*next)(struct reader *r, uint64_t *off, uint64_t *len);
	uint64_t from, step, block, n, i; /* for next() */
	uint64_t think_ns;                /* between reads */
	uint64_t off, len;                /* what it reads now; len 0: nothing */
	uint64_t wake_ns;                 /* when it reads on; NEVER: it waits, or is done */
	uint64_t stalls, asked;
	/* The kernel's read-ahead. Pages. */
	uint64_t ra_start, ra_size, ra_marker, prev;
};

struct origin {
	uint64_t delay_ns;
	double bytes_per_ns;
	unsigned connections;
	bool tells; /* the pace is known */
};

static struct world {
	struct stream_set set;
	struct origin origin;
	uint64_t size, now_ns, link_free_ns;
	uint64_t readahead;    /* of the kernel, pages */
	unsigned char *page;   /* enum page */
	unsigned char *cached; /* by the kernel */
	uint64_t fetched, kernel_asked, done_ns;
	uint64_t memory, used,
		oldest; /* pages that fit; those that are here; the clock of eviction */
	struct part part[PARTS_MAX];
	unsigned n_parts;
	struct read read[READS_MAX];
	unsigned n_reads;
	struct reader reader[READERS_MAX];
	unsigned n_readers;
	struct prng rand;
} w;

static void world_up(uint64_t size, uint64_t window_max, const struct origin *o)
{
	struct vmofs_pace pace = { .delay_ns = o->delay_ns };

	memset(&w, 0, sizeof w);
	w.size = size;
	w.origin = *o;
	w.readahead = MIB(1) / PAGE;
	w.memory = size / PAGE;
	w.page = calloc(1, size / PAGE);
	w.cached = calloc(1, size / PAGE);
	w.rand.state = 7;
	assert_true(w.page && w.cached);
	if (o->tells) {
		pace.bytes_per_sec = (uint64_t)(o->bytes_per_ns * 1e9);
		pace.part_bytes = PART;
	}
	stream_set_init(&w.set, size, window_max, 0, &pace);
}

static void world_down(void)
{
	stream_set_release(&w.set);
	free(w.page);
	free(w.cached);
}

/* ---- the origin ---- */

/* Asks for what is absent; the pages that nobody had asked for. */
static uint64_t ask(uint64_t first, uint64_t end, bool urgent)
{
	uint64_t n = 0;

	for (uint64_t p = first; p < end; p++) {
		struct part *last = w.n_parts ? &w.part[w.n_parts - 1] : NULL;

		if (w.page[p] != ABSENT)
			continue;
		w.page[p] = PENDING;
		n++;
		if (last && last->end == p && last->done_ns == NEVER && last->urgent == urgent &&
		    last->end - last->first < PART / PAGE) {
			last->end++;
			continue;
		}
		assert_true(w.n_parts < PARTS_MAX);
		w.part[w.n_parts++] = (struct part){ p, p + 1, urgent, NEVER };
	}
	return n;
}

static void promote(uint64_t first, uint64_t end)
{
	for (unsigned i = 0; i < w.n_parts; i++)
		if (w.part[i].first < end && w.part[i].end > first)
			w.part[i].urgent = true;
}

static struct part *next_part(void)
{
	struct part *found = NULL;

	for (unsigned i = 0; i < w.n_parts; i++) {
		struct part *p = &w.part[i];

		if (p->done_ns == NEVER && (!found || (p->urgent && !found->urgent)))
			found = p;
	}
	return found;
}

static void start_parts(void)
{
	unsigned busy = 0;
	struct part *p;

	for (unsigned i = 0; i < w.n_parts; i++)
		busy += w.part[i].done_ns != NEVER;
	while (busy++ < w.origin.connections && (p = next_part())) {
		uint64_t bytes = (p->end - p->first) * PAGE;
		uint64_t begin = MAX(w.now_ns + w.origin.delay_ns, w.link_free_ns);

		p->done_ns = begin + (uint64_t)((double)bytes / w.origin.bytes_per_ns);
		w.link_free_ns = p->done_ns;
	}
}

/* Pages go round robin, the kernel keeps its own. */
static void evict(void)
{
	while (w.used > w.memory) {
		uint64_t p = w.oldest++ % (w.size / PAGE);

		if (w.page[p] != PRESENT)
			continue;
		w.page[p] = ABSENT;
		w.used--;
	}
}

static void finish_part(struct part *p)
{
	for (uint64_t i = p->first; i < p->end; i++)
		w.page[i] = PRESENT;
	w.used += p->end - p->first;
	w.fetched += (p->end - p->first) * PAGE;
	*p = w.part[--w.n_parts];
	evict();
}

/* ---- the daemon ---- */

static enum stream_how how_of(uint64_t first, uint64_t end)
{
	enum stream_how how = STREAM_HIT;

	for (uint64_t p = first; p < end; p++) {
		if (w.page[p] == ABSENT)
			return STREAM_MISS;
		if (w.page[p] == PENDING)
			how = STREAM_LATE;
	}
	return how;
}

static void prefetch(const struct stream_ask *a)
{
	uint64_t fresh = 0;

	for (unsigned i = 0; i < a->n; i++)
		fresh += ask(a->piece[i].off / PAGE,
			     (a->piece[i].off + a->piece[i].len + PAGE - 1) / PAGE, false);
	stream_asked(&w.set, a, fresh * PAGE, 0);
}

static void daemon_read(uint64_t first, uint64_t end)
{
	enum stream_how how = how_of(first, end);
	struct stream_ask a;

	assert_true(w.n_reads < READS_MAX);
	w.kernel_asked += (end - first) * PAGE;
	w.read[w.n_reads++] =
		(struct read){ first * PAGE, (end - first) * PAGE, w.now_ns, how != STREAM_HIT };
	ask(first, end, true);
	promote(first, end);
	if (stream_read(&w.set, first * PAGE, (end - first) * PAGE, how, &a))
		prefetch(&a);
}

/* Answers what is there; true: something was. */
static bool answer(void)
{
	for (unsigned i = 0; i < w.n_reads; i++) {
		struct read r = w.read[i];

		enum stream_how how = how_of(r.off / PAGE, (r.off + r.len) / PAGE);

		/* Evicted before the last page came. */
		if (how == STREAM_MISS)
			ask(r.off / PAGE, (r.off + r.len) / PAGE, true);
		if (how != STREAM_HIT)
			continue;
		w.read[i] = w.read[--w.n_reads];
		memset(w.cached + r.off / PAGE, 1, r.len / PAGE);
		if (r.waits)
			stream_served(&w.set, r.off, r.len, w.now_ns - r.start_ns);
		return true;
	}
	return false;
}

/* ---- the kernel ---- */

static bool is_asked(uint64_t p)
{
	for (unsigned i = 0; i < w.n_reads; i++)
		if (p * PAGE >= w.read[i].off && p * PAGE < w.read[i].off + w.read[i].len)
			return true;
	return false;
}

/* What is not cached and not under way, in requests of the greatest size. */
static void send(uint64_t first, uint64_t end)
{
	end = MIN(end, w.size / PAGE);
	while (first < end) {
		uint64_t to = first;

		while (to < end && to - first < REQUEST / PAGE && !w.cached[to] && !is_asked(to))
			to++;
		if (to > first)
			daemon_read(first, to);
		first = MAX(to, first + 1);
	}
}

static void send_ahead(struct reader *r, uint64_t first, uint64_t size, uint64_t async)
{
	r->ra_start = first;
	r->ra_size = size;
	r->ra_marker = first + size - async;
	send(first, first + size);
}

static void kernel_miss(struct reader *r, uint64_t p, uint64_t n)
{
	uint64_t size = MIN(MAX(4 * n, UINT64_C(4)), w.readahead);

	if (r->habit == MAPPED)
		send_ahead(r, p - MIN(p, w.readahead / 2), w.readahead, w.readahead / 4);
	else if (r->habit == BUFFERED && (p == 0 || p == r->prev + 1))
		send_ahead(r, p, MAX(size, MIN(2 * r->ra_size, w.readahead)), MAX(size, n) - n);
	else
		send(p, p + n);
}

/* Whether all of what @r reads is cached; sends for it. */
static bool kernel_read(struct reader *r)
{
	uint64_t end = (r->off + r->len + PAGE - 1) / PAGE;
	bool all = true;

	for (uint64_t p = r->off / PAGE; p < end; p++) {
		if (p == r->ra_marker && r->ra_size && r->habit != DIRECT)
			send_ahead(r, r->ra_start + r->ra_size, MIN(2 * r->ra_size, w.readahead),
				   MIN(2 * r->ra_size, w.readahead));
		if (w.cached[p])
			continue;
		all = false;
		if (!is_asked(p))
			kernel_miss(r, p, end - p);
	}
	r->prev = end - 1;
	return all;
}

/* ---- time ---- */

static void reader_go(struct reader *r)
{
	if (!r->len) {
		if (!r->next(r, &r->off, &r->len)) {
			r->wake_ns = NEVER;
			return;
		}
		r->asked += r->len;
		r->stalls += !kernel_read(r);
	}
	r->wake_ns = NEVER;
}

static bool is_cached(const struct reader *r)
{
	return !memchr(w.cached + r->off / PAGE, 0,
		       (r->off + r->len + PAGE - 1) / PAGE - r->off / PAGE);
}

static void wake_readers(void)
{
	for (unsigned i = 0; i < w.n_readers; i++) {
		struct reader *r = &w.reader[i];

		if (!r->len || r->wake_ns != NEVER)
			continue;
		/* A mapping or a short read may need more than one request. */
		if (!is_cached(r) && (kernel_read(r), !is_cached(r)))
			continue;
		r->len = 0;
		r->wake_ns = w.now_ns + r->think_ns;
		w.done_ns = w.now_ns;
	}
}

static uint64_t next_event(void)
{
	uint64_t at = NEVER;

	for (unsigned i = 0; i < w.n_parts; i++)
		at = MIN(at, w.part[i].done_ns);
	for (unsigned i = 0; i < w.n_readers; i++)
		at = MIN(at, w.reader[i].wake_ns);
	return at;
}

static void run(void)
{
	uint64_t at;

	for (;;) {
		while (answer())
			;
		wake_readers();
		start_parts();
		at = next_event();
		if (at == NEVER)
			break;
		w.now_ns = MAX(w.now_ns, at);
		for (unsigned i = 0; i < w.n_parts;)
			if (w.part[i].done_ns <= w.now_ns)
				finish_part(&w.part[i]);
			else
				i++;
		for (unsigned i = 0; i < w.n_readers; i++)
			if (w.reader[i].wake_ns <= w.now_ns)
				reader_go(&w.reader[i]);
	}
	for (unsigned i = 0; i < w.n_readers; i++)
		assert_int_equal(w.reader[i].len, 0);
}

/* ---- readers ---- */

/* @n blocks from @from on, each @step further; a negative step wraps. */
static bool next_in_steps(struct reader *r, uint64_t *off, uint64_t *len)
{
	if (r->i == r->n)
		return false;
	*off = r->from + r->i++ * r->step;
	*len = r->block;
	return true;
}

/* The same, up to a sixteenth of a block beside it. */
static bool next_with_jitter(struct reader *r, uint64_t *off, uint64_t *len)
{
	if (!next_in_steps(r, off, len))
		return false;
	*off += prng_below(&w.rand, r->block / 16 / PAGE + 1) * PAGE;
	return true;
}

/* Two places in turn. */
static bool next_in_turn(struct reader *r, uint64_t *off, uint64_t *len)
{
	if (r->i == r->n)
		return false;
	*off = r->from + r->i / 2 * r->block + (r->i % 2) * r->step;
	*len = r->block;
	r->i++;
	return true;
}

static bool next_at_random(struct reader *r, uint64_t *off, uint64_t *len)
{
	if (r->i++ == r->n)
		return false;
	*off = prng_below(&w.rand, w.size / PAGE - r->block / PAGE) * PAGE;
	*len = r->block;
	return true;
}

static void add(struct reader r)
{
	if (!r.next)
		r.next = next_in_steps;
	w.reader[w.n_readers++] = r;
}

static uint64_t asked(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < w.n_readers; i++)
		n += w.reader[i].asked;
	return n;
}

/* Fetched at most @percent of what was asked for. */
static void assert_wire(unsigned percent)
{
	if (w.fetched * 100 > asked() * percent || getenv("MODEL_TALKS"))
		print_message("fetched %" PRIu64 " KiB for %" PRIu64
			      " KiB, the kernel asked for %" PRIu64 "\n",
			      w.fetched >> 10, asked() >> 10, w.kernel_asked >> 10);
	assert_true(w.fetched * 100 <= asked() * percent);
}

/* Done within @n round trips. */
static void assert_trips(uint64_t n)
{
	if (w.done_ns > n * w.origin.delay_ns || getenv("MODEL_TALKS"))
		print_message("took %" PRIu64 " round trips\n", w.done_ns / w.origin.delay_ns);
	assert_true(w.done_ns <= n * w.origin.delay_ns);
}

static const struct origin far20 = { 20 * MSEC, 1.0, 16, false };
static const struct origin far80 = { 80 * MSEC, 1.0, 32, true };
static const struct origin near = { MSEC / 10, 2.0, 16, false };
static const struct origin thin = { 20 * MSEC, 0.0125, 16, true };

/* ---- the cases ---- */

static void test_sequential_far(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &far20);
	add((struct reader){ BUFFERED, .block = MIB(1), .step = MIB(1), .n = 512 });
	run();
	assert_wire(100);
	/* 33 by what 16 connections carry in parts of 1 MiB. */
	assert_trips(40);
	world_down();
	world_up(MIB(512), MIB(256), &far80);
	add((struct reader){ BUFFERED, .block = KIB(128), .step = KIB(128), .n = 4096 });
	run();
	assert_wire(100);
	/* 16 by 32 connections. */
	assert_trips(20);
	world_down();
}

static void test_slow_reader_costs_little(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &far20);
	/* 12.5 MiB a second for ten seconds, a quarter of the file. */
	add((struct reader){ BUFFERED, .block = KIB(128), .step = KIB(128), .n = 1000,
			     .think_ns = 10 * MSEC });
	run();
	/* What a far origin is met with at first, and no more. */
	assert_true(w.fetched <= asked() + MIB(24));
	assert_true(w.reader[0].stalls <= 8);
	world_down();
}

static void test_thin_link(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &thin);
	add((struct reader){ BUFFERED, .block = KIB(128), .step = KIB(128), .n = 512 });
	run();
	/* 64 MiB of 512; a window is about 4 MiB. */
	assert_wire(115);
	assert_trips(280);
	world_down();
}

static void test_who_stops_early_costs_little(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &near);
	for (uint64_t i = 0; i < 32; i++)
		add((struct reader){ BUFFERED, .from = i * MIB(16), .block = KIB(64),
				     .step = KIB(64), .n = 16 });
	for (uint64_t i = 1; i < 32; i++)
		w.reader[i].wake_ns = i * 100 * MSEC;
	run();
	/* The kernel's own read-ahead costs more. */
	assert_true(w.fetched <= w.kernel_asked / 10 * 11);
	world_down();
}

static void test_short_pieces_far(void **state UNUSED)
{
	world_up(GIB(1), MIB(64), &far20);
	w.rand.state = 11;
	/* 2 MiB at random, again and again. */
	add((struct reader){ DIRECT, next_at_random, .block = MIB(2), .n = 200 });
	run();
	assert_wire(130);
	world_down();
}

static void strided(const struct origin *o, enum habit habit, bool jitter, uint64_t trips)
{
	world_up(MIB(512), MIB(64), o);
	add((struct reader){ habit, jitter ? next_with_jitter : NULL, .block = KIB(64),
			     .step = MIB(1), .n = 512 });
	run();
	assert_wire(jitter ? 130 : 105);
	assert_trips(trips);
	world_down();
}

static void test_strided(void **state UNUSED)
{
	strided(&far20, DIRECT, false, 80);
	strided(&far20, BUFFERED, false, 80);
	strided(&far20, BUFFERED, true, 160);
	strided(&near, BUFFERED, false, 400);
}

static void test_strided_ends_early(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &far20);
	add((struct reader){ DIRECT, .block = KIB(64), .step = MIB(1), .n = 100 });
	run();
	assert_wire(130);
	world_down();
}

static void test_strided_downwards(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &far20);
	add((struct reader){ BUFFERED, .from = MIB(511), .block = KIB(64), .step = -MIB(1),
			     .n = 512 });
	run();
	assert_wire(105);
	assert_trips(80);
	world_down();
}

/* Pieces that the kernel sends in several requests, and holes between that are no larger than they. */
static void test_large_pieces(void **state UNUSED)
{
	world_up(GIB(1), MIB(64), &far20);
	add((struct reader){ DIRECT, .block = MIB(3), .step = MIB(8), .n = 128 });
	run();
	assert_wire(130);
	world_down();
	world_up(MIB(512), MIB(64), &far20);
	add((struct reader){ DIRECT, .block = KIB(64), .step = KIB(128), .n = 4096 });
	run();
	assert_wire(130);
	assert_trips(600);
	world_down();
}

static void backwards(uint64_t block, uint64_t trips)
{
	world_up(MIB(256), MIB(64), &far20);
	add((struct reader){ BUFFERED, .from = MIB(256) - block, .block = block, .step = -block,
			     .n = MIB(256) / block });
	run();
	assert_wire(100);
	assert_trips(trips);
	world_down();
}

static void test_backwards(void **state UNUSED)
{
	backwards(MIB(1), 30);
	backwards(KIB(64), 30);
	backwards(MIB(4), 40);
}

static void test_two_in_turn(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &far20);
	add((struct reader){ DIRECT, next_in_turn, .block = KIB(256), .step = MIB(256),
			     .n = 2048 });
	run();
	assert_wire(100);
	assert_trips(50);
	world_down();
}

static void test_many_readers(void **state UNUSED)
{
	world_up(GIB(1), MIB(64), &far20);
	for (uint64_t i = 0; i < 64; i++)
		add((struct reader){ BUFFERED, .from = i * MIB(16), .block = KIB(128),
				     .step = KIB(128), .n = 128 });
	run();
	assert_wire(100);
	/* A second by the bandwidth; one after the other it would be some hundred more. */
	assert_trips(90);
	world_down();
}

static void test_at_random(void **state UNUSED)
{
	world_up(GIB(1), MIB(64), &far20);
	for (unsigned i = 0; i < 16; i++)
		add((struct reader){ DIRECT, next_at_random, .block = PAGE, .n = 2000 });
	run();
	assert_wire(101);
	world_down();
}

static void test_tail_and_jumps(void **state UNUSED)
{
	static const uint64_t place[] = { 500, 100, 101, 300, 5, 250 };

	world_up(MIB(512), MIB(64), &far20);
	add((struct reader){ BUFFERED, .from = MIB(512) - KIB(64), .block = KIB(64), .n = 1 });
	for (unsigned i = 0; i < ARRAY_LEN(place); i++) {
		add((struct reader){ BUFFERED, .from = MIB(1) * place[i] + KIB(40),
				     .block = KIB(32), .n = 1 });
		w.reader[i + 1].wake_ns = (i + 1) * 50 * MSEC;
	}
	run();
	assert_wire(100);
	world_down();
}

/* A fault brings what lies around it; one after the other that is a sequence, elsewhere it is not. */
static void test_faults(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &far20);
	add((struct reader){ MAPPED, .block = PAGE, .step = PAGE, .n = MIB(512) / PAGE });
	run();
	assert_wire(100);
	assert_trips(50);
	world_down();
	world_up(GIB(1), MIB(64), &far20);
	add((struct reader){ MAPPED, next_at_random, .block = PAGE, .n = 100 });
	run();
	/* The kernel asks for 1 MiB around each. */
	assert_true(w.fetched <= 100 * MIB(1) * 5 / 4);
	world_down();
}

/* Four readers in memory for a part of their windows: what is evicted unread is fetched anew, but not for ever. */
static void test_little_memory(void **state UNUSED)
{
	world_up(MIB(512), MIB(64), &far20);
	w.memory = MIB(32) / PAGE;
	for (uint64_t i = 0; i < 4; i++)
		add((struct reader){ BUFFERED, .from = i * MIB(128), .block = KIB(128),
				     .step = KIB(128), .n = 1024 });
	run();
	assert_wire(150);
	world_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sequential_far),
		cmocka_unit_test(test_slow_reader_costs_little),
		cmocka_unit_test(test_thin_link),
		cmocka_unit_test(test_who_stops_early_costs_little),
		cmocka_unit_test(test_short_pieces_far),
		cmocka_unit_test(test_strided),
		cmocka_unit_test(test_strided_ends_early),
		cmocka_unit_test(test_strided_downwards),
		cmocka_unit_test(test_large_pieces),
		cmocka_unit_test(test_backwards),
		cmocka_unit_test(test_two_in_turn),
		cmocka_unit_test(test_many_readers),
		cmocka_unit_test(test_at_random),
		cmocka_unit_test(test_tail_and_jumps),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_little_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
