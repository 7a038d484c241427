/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in memory: one memfd, mapped shared, sparse. Growing within the address range that was
 * mapped at first costs nothing; beyond it a larger window is mapped beside the old one, which stays
 * because readers may still point into it. The file never shrinks (only its memory does), so that an
 * address given out once can always be read.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/macros.h"
#include "store/store.h"

enum { STORE_PAGE = 4096 };
enum { WINDOWS_MAX = 40 }; /* each at least twice as long as the one before */

struct window {
	char *p;
	uint64_t len;
};

struct store_memfd {
	struct store base;
	int fd;
	uint64_t file_size;
	struct window window[WINDOWS_MAX];
	unsigned n_windows; /* the last one is the longest */
};

static struct store_memfd *memfd_of(struct store *st)
{
	return container_of(st, struct store_memfd, base);
}

static int window_add(struct store_memfd *m, uint64_t len)
{
	struct window *w = &m->window[m->n_windows];
	void *p;

	if (m->n_windows == WINDOWS_MAX)
		return -ENOMEM;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/* A core file must not hold other people's data, nor a terabyte of holes. */
	madvise(p, len, MADV_DONTDUMP);
	w->p = p;
	w->len = len;
	m->n_windows++;
	return 0;
}

static void *memfd_addr(struct store *st, uint64_t off, uint64_t len)
{
	struct store_memfd *m = memfd_of(st);
	struct window *w = &m->window[m->n_windows - 1];

	assert(m->n_windows && off + len <= w->len);
	(void)len;
	return w->p + off;
}

/*
 * Whole pages go in by pwrite(): no page fault each, and the kernel need not zero what is about to be
 * overwritten (a third less CPU than copying through the mapping). Where it cannot, the mapping can.
 */
static void memfd_write(struct store *st, uint64_t off, const void *buf, uint64_t len)
{
	struct store_memfd *m = memfd_of(st);

	if (len >= STORE_PAGE && pwrite(m->fd, buf, len, (off_t)off) == (ssize_t)len)
		return;
	memcpy(memfd_addr(st, off, len), buf, len);
}

static int memfd_punch(struct store *st, uint64_t off, uint64_t len)
{
	struct store_memfd *m = memfd_of(st);

	if (fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) <
	    0)
		return -errno;
	return 0;
}

/* With room to grow further, where the address space has it. */
static int window_grow(struct store_memfd *m, uint64_t size, uint64_t roomy)
{
	int r = size < roomy ? window_add(m, roomy) : -ENOMEM;

	return r < 0 ? window_add(m, size) : 0;
}

static int memfd_grow(struct store_memfd *m, uint64_t size)
{
	uint64_t mapped = m->n_windows ? m->window[m->n_windows - 1].len : 0;
	int r = 0;

	if (ftruncate(m->fd, (off_t)size) < 0)
		return -errno;
	if (size > mapped)
		r = window_grow(m, size, 2 * mapped);
	/* A file that is longer than its window does no harm, but it has not grown for anybody. */
	if (r == 0)
		m->file_size = size;
	return r;
}

static int memfd_resize(struct store *st, uint64_t size)
{
	struct store_memfd *m = memfd_of(st);
	int r = 0;

	if (size > m->file_size)
		r = memfd_grow(m, size);
	else if (size < st->size)
		r = memfd_punch(st, size, st->size - size);
	if (r == 0)
		st->size = size;
	return r;
}

static void memfd_free(struct store *st)
{
	struct store_memfd *m = memfd_of(st);

	while (m->n_windows) {
		m->n_windows--;
		munmap(m->window[m->n_windows].p, m->window[m->n_windows].len);
	}
	fd_closep(&m->fd);
	free(m);
}

static const struct store_ops memfd_ops = {
	.name = "memfd",
	.can_grow = true,
	.addr = memfd_addr,
	.write = memfd_write,
	.punch = memfd_punch,
	.resize = memfd_resize,
	.free = memfd_free,
};

int store_memfd_new(struct store **out, uint64_t size, struct vmofs_err *err)
{
	struct store_memfd *m = calloc(1, sizeof *m);
	int r = 0;

	if (!m)
		return vmofs_err_set(err, -ENOMEM, "out of memory for a page store");
	m->base.ops = &memfd_ops;
	m->fd = memfd_create("vmofs", MFD_CLOEXEC);
	if (m->fd < 0)
		r = vmofs_err_set(err, -errno, "cannot create a memory file: %s", strerror(errno));
	else if (size)
		r = memfd_resize(&m->base, size);
	if (r < 0) {
		if (!err->code)
			vmofs_err_set(err, r, "cannot map %llu bytes of memory file: %s",
				      (unsigned long long)size, strerror(-r));
		memfd_free(&m->base);
		return r;
	}
	*out = &m->base;
	return 0;
}
