/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A builder of indexes that writes down what it is told, one line a call. It stands in for src/image/layer_build.c in
 * programs that include this, and asserts what any reader of tables owes the real one.
 */
#ifndef TESTS_FAKE_BUILD_H
#define TESTS_FAKE_BUILD_H

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/layer_build.h"

#define FAKE_PAGE 4096u

struct layer_build {
	char *log; /* NULL: nothing is written down */
	size_t len;
	size_t cap;
	uint64_t placed; /* end of what layer_build_place() gave away */
	uint64_t max;    /* of one file; more is -E2BIG */
	bool tar;
	unsigned n_entries;
	unsigned n_spans;
	/* NULL: nobody looks. */
	void (*on_span)(void *arg, const struct layer_span *s, const uint8_t *digest,
			const void *window, size_t window_len);
	void *arg;
};

static inline void fake_say(struct layer_build *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static inline void fake_say(struct layer_build *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!b->log)
		return;
	if (b->cap - b->len < 8192) {
		b->cap = 2 * b->cap + 8192;
		b->log = realloc(b->log, b->cap);
		assert(b->log);
	}
	va_start(ap, fmt);
	n = vsnprintf(b->log + b->len, b->cap - b->len, fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < b->cap - b->len);
	b->len += (size_t)n;
}

static inline struct layer_build *fake_build_new(bool tar, bool log)
{
	struct layer_build *b = calloc(1, sizeof *b);

	assert(b);
	b->tar = tar;
	b->max = UINT64_C(1) << 40;
	b->log = log ? calloc(1, 1) : NULL;
	b->cap = log;
	return b;
}

void layer_build_free(struct layer_build *b)
{
	if (!b)
		return;
	free(b->log);
	free(b);
}

int layer_build_place(struct layer_build *b, uint64_t size, uint64_t *data)
{
	assert(!b->tar && size);
	if (size > b->max)
		return -E2BIG;
	*data = b->placed;
	b->placed += (size + FAKE_PAGE - 1) / FAKE_PAGE * FAKE_PAGE;
	return 0;
}

static inline void fake_say_type(struct layer_build *b, const struct layer_entry *e)
{
	switch (e->mode & S_IFMT) {
	case S_IFREG:
		fake_say(b, " size %" PRIu64, e->size);
		if (e->size)
			fake_say(b, " at %" PRIu64, e->data);
		break;
	case S_IFCHR:
	case S_IFBLK:
		fake_say(b, " dev %u:%u", e->major, e->minor);
		break;
	case 0:
	case S_IFLNK:
		fake_say(b, " -> %.*s", (int)e->target_len, e->target ? e->target : "");
		break;
	default:
		assert(S_ISDIR(e->mode) || S_ISFIFO(e->mode));
	}
}

int layer_build_entry(struct layer_build *b, const struct layer_entry *e, struct vmofs_err *err)
{
	assert(!err->code);
	assert(!e->name_len || (e->name && !memchr(e->name, 0, e->name_len)));
	assert(e->mtime_nsec < 1000000000 && (e->mode & ~(mode_t)(S_IFMT | 07777)) == 0);
	if (S_ISREG(e->mode) && !b->tar)
		assert(!e->size || e->data + e->size <= b->placed);
	b->n_entries++;
	fake_say(b, "%06o %u:%u %" PRId64 ".%09u %.*s", e->mode, e->uid, e->gid, e->mtime,
		 e->mtime_nsec, (int)(e->name_len < 4096 ? e->name_len : 4096),
		 e->name ? e->name : "");
	fake_say_type(b, e);
	for (unsigned i = 0; i < e->n_xattrs; i++) {
		const struct layer_xattr *x = &e->xattrs[i];

		assert(x->name[x->name_len] == '\0' && strlen(x->name) == x->name_len);
		fake_say(b, " {%s=", x->name);
		for (size_t k = 0; k < x->len && k < 64; k++)
			fake_say(b, "%02x", ((const uint8_t *)x->value)[k]);
		fake_say(b, "}");
	}
	fake_say(b, "\n");
	return 0;
}

int layer_build_span(struct layer_build *b, const struct layer_span *s,
		     const uint8_t digest[LAYER_DIGEST_LEN], const void *window, size_t window_len)
{
	static const char *const kinds[] = { "?", "raw", "gzip", "deflate", "zstd", "zero" };
	unsigned sum = 0;

	assert(s->kind && s->kind < LAYER_SPAN_NKINDS && s->data_len && !s->digest);
	assert((s->kind == LAYER_SPAN_ZERO) == !s->blob_len);
	assert(s->digest_of < LAYER_NDIGESTS && s->bits < 8);
	assert(!window_len || (window && s->kind == LAYER_SPAN_DEFLATE));
	if (!b->tar)
		assert(s->data + s->data_len <= b->placed);
	for (size_t i = 0; i < window_len; i++)
		sum += ((const uint8_t *)window)[i];
	b->n_spans++;
	if (b->on_span)
		b->on_span(b->arg, s, digest, window, window_len);
	fake_say(b, "%s %" PRIu64 "+%" PRIu64, kinds[s->kind], s->data, s->data_len);
	if (s->blob_len)
		fake_say(b, " from %" PRIu64 "+%" PRIu64, s->blob, s->blob_len);
	if (s->skip)
		fake_say(b, " skip %" PRIu64, s->skip);
	if (s->bits)
		fake_say(b, " bits %u", s->bits);
	if (window_len)
		fake_say(b, " window %zu sum %u", window_len, sum);
	if (digest)
		fake_say(b, " %s %02x%02x", s->digest_of ? "packed" : "sha", digest[0], digest[31]);
	fake_say(b, "\n");
	return 0;
}

#endif
