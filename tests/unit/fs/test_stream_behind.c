/* SPDX-License-Identifier: Apache-2.0 */
/* What sequential readers leave behind, and what they do not. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fs/stream.h"
#include "store/store.h"

#define KEEP MIB(32)
#define SIZE (GIB(100) + 12345)

static void make(struct stream_set *s, uint64_t window_max, uint64_t keep)
{
	static const struct vmofs_pace pace;

	stream_set_init(s, SIZE, window_max, keep, &pace);
}

static struct stream_piece read_at(struct stream_set *s, uint64_t off, uint64_t len)
{
	struct stream_ask ask;

	stream_read(s, off, len, STREAM_HIT, &ask);
	assert_int_equal(ask.behind.off % STORE_BLOCK * ask.behind.len, 0);
	assert_int_equal(ask.behind.len % STORE_BLOCK, 0);
	return ask.behind;
}

/* One reader: what he lets go follows each other, and stays away from where he is. */
struct reader {
	uint64_t at;
	bool down;
	uint64_t next; /* border of what has gone; 0: nothing has */
	uint64_t gone; /* bytes */
};

static void step(struct stream_set *s, struct reader *r)
{
	struct stream_piece d;
	uint64_t end;

	r->at -= r->down ? MIB(1) : 0;
	d = read_at(s, r->at, MIB(1));
	r->at += r->down ? 0 : MIB(1);
	if (!d.len)
		return;
	end = d.off + d.len;
	if (r->next)
		assert_int_equal(r->down ? end : d.off, r->next);
	if (r->down)
		assert_true(d.off >= r->at + KEEP);
	else
		assert_true(end + KEEP <= r->at);
	r->next = r->down ? d.off : end;
	r->gone += d.len;
}

static void steps(struct stream_set *s, struct reader *r, unsigned n)
{
	while (n--)
		step(s, r);
}

static void check_long_stream(uint64_t window_max, uint64_t from, bool down)
{
	struct reader r = { .at = from, .down = down };
	struct stream_set s;

	make(&s, window_max, KEEP);
	steps(&s, &r, 2 * KEEP / MIB(1));
	assert_int_equal(r.gone, 0);
	steps(&s, &r, 512 - 2 * KEEP / MIB(1));
	assert_true(r.gone >= MIB(512) - KEEP - MIB(8));
	stream_set_release(&s);
}

static void test_a_long_stream(void **state)
{
	(void)state;
	check_long_stream(MIB(256), 0, false);
	check_long_stream(MIB(256), GIB(1) + 4096, false);
	check_long_stream(MIB(256), GIB(1), true);
	check_long_stream(MIB(256), SIZE & ~UINT64_C(4095), true);
	/* Also where nothing is read ahead. */
	check_long_stream(0, 0, false);
	check_long_stream(0, GIB(1), true);
}

static void test_streams_do_not_disturb_each_other(void **state)
{
	struct reader r[] = {
		{ .at = 0 },
		{ .at = GIB(10) },
		{ .at = GIB(20), .down = true },
		{ .at = GIB(30), .down = true },
	};
	struct stream_set s;

	(void)state;
	make(&s, MIB(256), KEEP);
	for (unsigned i = 0; i < 512; i++)
		for (unsigned k = 0; k < ARRAY_LEN(r); k++)
			step(&s, &r[k]);
	for (unsigned k = 0; k < ARRAY_LEN(r); k++)
		assert_true(r[k].gone >= MIB(512) - KEEP - MIB(8));
	stream_set_release(&s);
}

static void test_random_reads_leave_nothing(void **state)
{
	struct reader r = { .at = GIB(90) };
	struct stream_set s;

	(void)state;
	make(&s, MIB(256), KEEP);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(read_at(&s, (i * 7919 % 1000) * MIB(40), 4096).len, 0);
	steps(&s, &r, 256);
	assert_true(r.gone > 0);
	stream_set_release(&s);
}

static void test_out_of_order_is_one_stream(void **state)
{
	struct stream_set s;
	uint64_t n = 0;

	(void)state;
	make(&s, MIB(256), KEEP);
	for (uint64_t off = 0; off < MIB(256); off += MIB(4)) {
		n += read_at(&s, off + MIB(2), MIB(2)).len;
		n += read_at(&s, off, MIB(2)).len;
	}
	assert_true(n >= MIB(200));
	stream_set_release(&s);
}

static void test_nothing_goes_when_all_is_kept(void **state)
{
	struct reader r = { .at = 0 };
	struct stream_set s;

	(void)state;
	make(&s, MIB(256), 0);
	steps(&s, &r, 512);
	assert_int_equal(r.gone, 0);
	stream_set_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_long_stream),
		cmocka_unit_test(test_streams_do_not_disturb_each_other),
		cmocka_unit_test(test_random_reads_leave_nothing),
		cmocka_unit_test(test_out_of_order_is_one_stream),
		cmocka_unit_test(test_nothing_goes_when_all_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
