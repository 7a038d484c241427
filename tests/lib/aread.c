/* SPDX-License-Identifier: Apache-2.0 */
/* A read of a VMO that does not block; see the header. */
#include "lib/aread.h"

#include <errno.h>
#include <inttypes.h>

#include "base/macros.h"
#include "lib/fake_provider.h"
#include "vm/page.h"

static void aread_done(struct vmo_read *r, int status)
{
	struct aread *a = container_of(r, struct aread, r);

	a->status = status;
	a->n_done++;
}

int aread_start(struct aread *a, struct vmo *v, uint64_t page, uint64_t n)
{
	return aread_start_until(a, v, page, n, 0);
}

int aread_start_until(struct aread *a, struct vmo *v, uint64_t page, uint64_t n,
		      uint64_t deadline_ns)
{
	*a = (struct aread){ .r = { .off = page_bytes(page),
				    .len = page_bytes(n),
				    .deadline_ns = deadline_ns,
				    .done = aread_done } };
	a->start = vmo_read_start(v, &a->r);
	return a->start;
}

void aread_park(struct aread *a, struct vmo *v, uint64_t page, uint64_t n)
{
	int r = aread_start(a, v, page, n);

	if (r != -EINPROGRESS)
		test_die("a read that was to wait is answered with %d", r);
}

bool aread_is_done(struct aread *a)
{
	return a->start != -EINPROGRESS || a->n_done;
}

static bool aread_ready(void *arg)
{
	return aread_is_done(arg);
}

int aread_wait(struct aread *a)
{
	test_wait_until(aread_ready, a, "an asynchronous read");
	if (a->n_done > 1)
		test_die("a read is done %u times", a->n_done);
	return a->start == -EINPROGRESS ? a->status : a->start;
}

/* Offset of the first wrong byte of the pinned contents, or -1; @key 0: zeros. */
static int64_t aread_compare(const struct aread *a, uint64_t key)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < a->r.n_iov; i++) {
		const struct iovec *iov = &a->r.iov[i];
		int64_t bad;

		if (key)
			bad = fake_compare(key, a->r.off + at, iov->iov_base, iov->iov_len);
		else
			bad = reads_as_zero(iov->iov_base, iov->iov_len) ? -1 : 0;
		if (bad >= 0)
			return (int64_t)at + bad;
		at += iov->iov_len;
	}
	return at == a->r.len ? -1 : (int64_t)at;
}

void aread_expect_data(struct aread *a, uint64_t key)
{
	int status = aread_wait(a);
	int64_t bad;

	if (status)
		test_die("a read failed with %d", status);
	bad = aread_compare(a, key);
	if (bad >= 0)
		test_die("a read is wrong at byte %" PRId64 " of it", bad);
	vmo_read_end(&a->r);
}

void aread_expect_zero(struct aread *a)
{
	aread_expect_data(a, 0);
}
