/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of bytes that have been seen, ascending and apart, each with its CRCs; neighbours are merged. Who reads a
 * large object in thousands of scattered pieces is not worth the memory: it is given up then.
 */
#include "s3/s3_sums.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

#define RUNS_MAX 1024

struct run {
	uint64_t off;
	uint64_t end;
	uint64_t crc[DIGEST_NCRCS];
};

struct s3_sums {
	uint64_t size;
	struct s3_sum_wanted want;
	struct run *runs;
	unsigned n;
	unsigned cap;
	bool given_up;
	struct sha256 *sha; /* NULL: not computed (any more) */
	uint64_t sha_end;   /* it covers [0, sha_end) */
	bool sha_done;
	uint8_t digest[SHA256_LEN];
};

static const struct {
	const char *name;
	unsigned len;
} kinds[S3_SUM_NKINDS] = {
	[S3_SUM_CRC32] = { "crc32", 4 },         [S3_SUM_CRC32C] = { "crc32c", 4 },
	[S3_SUM_CRC64NVME] = { "crc64nvme", 8 }, [S3_SUM_SHA256] = { "sha256", SHA256_LEN },
	[S3_SUM_UNKNOWN] = { "unknown", 0 },     [S3_SUM_NONE] = { "none", 0 },
};

const char *s3_sum_name(enum s3_sum_kind kind)
{
	return kinds[kind].name;
}

/* -- what the server says --------------------------------------------------------------------- */

/* "NAME=VALUE;" of @text; NULL: it is not there. */
static const char *find(const char *text, const char *name, size_t *n)
{
	size_t len = strlen(name);

	for (const char *p = text; *p;) {
		size_t item = strcspn(p, ";");

		if (item > len && strncmp(p, name, len) == 0 && p[len] == '=') {
			*n = item - len - 1;
			return p + len + 1;
		}
		p += item + (p[item] == ';');
	}
	return NULL;
}

/*
 * A composite one ("BASE64-3") is of the checksums of parts: nothing that could be compared. moto's HEAD tells of it neither the
 * number nor the type, so where the type is not told, the ETag ("...-3") says that an object was made of parts.
 */
void s3_sum_parse(const char *checksums, const char *etag, struct s3_sum_wanted *out)
{
	static const enum s3_sum_kind order[] = { S3_SUM_CRC64NVME, S3_SUM_CRC32C, S3_SUM_CRC32,
						  S3_SUM_SHA256 };
	size_t n;
	const char *v = find(checksums, "type", &n);

	*out = (struct s3_sum_wanted){ .kind = S3_SUM_NONE };
	if (v ? n != strlen("FULL_OBJECT") || strncmp(v, "FULL_OBJECT", n) != 0
	      : strchr(etag, '-') != NULL)
		return;
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		enum s3_sum_kind k = order[i];
		uint8_t value[SHA256_LEN];

		v = find(checksums, kinds[k].name, &n);
		if (!v || digest_unbase64(v, n, value, sizeof value) != (int)kinds[k].len)
			continue;
		out->kind = k;
		memcpy(out->value, value, kinds[k].len);
		return;
	}
}

/* -- life ------------------------------------------------------------------------------------- */

struct s3_sums *s3_sums_new(uint64_t size)
{
	struct s3_sums *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->size = size;
	s->want.kind = S3_SUM_UNKNOWN;
	s->sha = sha256_new();
	return s;
}

void s3_sums_free(struct s3_sums *s)
{
	if (!s)
		return;
	sha256_free(s->sha);
	free(s->runs);
	free(s);
}

static void give_up(struct s3_sums *s)
{
	s->given_up = true;
	sha256_free(s->sha);
	s->sha = NULL;
	free(s->runs);
	s->runs = NULL;
	s->n = s->cap = 0;
}

void s3_sums_want(struct s3_sums *s, const struct s3_sum_wanted *w)
{
	s->want = *w;
	if (w->kind == S3_SUM_NONE || (w->kind == S3_SUM_SHA256 && !s->sha && !s->sha_done))
		give_up(s);
	if (w->kind != S3_SUM_SHA256) {
		sha256_free(s->sha);
		s->sha = NULL;
	}
}

/* -- bytes ------------------------------------------------------------------------------------ */

static void sha_add(struct s3_sums *s, uint64_t off, const uint8_t *p, uint64_t n)
{
	if (!s->sha || off + n <= s->sha_end)
		return;
	if (off > s->sha_end) { /* out of order */
		sha256_free(s->sha);
		s->sha = NULL;
		if (s->want.kind == S3_SUM_SHA256)
			give_up(s);
		return;
	}
	sha256_add(s->sha, p + (s->sha_end - off), n - (s->sha_end - off));
	s->sha_end = off + n;
	if (s->sha_end < s->size)
		return;
	sha256_end(s->sha, s->digest);
	s->sha_done = true;
	sha256_free(s->sha);
	s->sha = NULL;
}

static bool wants_crc(const struct s3_sums *s, unsigned kind)
{
	return s->want.kind == S3_SUM_UNKNOWN || (unsigned)s->want.kind == kind;
}

static void run_append(const struct s3_sums *s, struct run *r, const uint8_t *p, uint64_t n)
{
	for (unsigned k = 0; k < DIGEST_NCRCS; k++)
		if (wants_crc(s, k))
			r->crc[k] = digest_crc(k, r->crc[k], p, n);
	r->end += n;
}

/* @b follows @a without a gap. */
static void run_merge(const struct s3_sums *s, struct run *a, const struct run *b)
{
	for (unsigned k = 0; k < DIGEST_NCRCS; k++)
		if (wants_crc(s, k))
			a->crc[k] = digest_crc_combine(k, a->crc[k], b->crc[k], b->end - b->off);
	a->end = b->end;
}

static int run_insert(struct s3_sums *s, unsigned i, uint64_t off)
{
	if (s->n == RUNS_MAX)
		return -ENOSPC;
	if (s->n == s->cap) {
		unsigned cap = s->cap ? s->cap * 2 : 8;
		struct run *runs = realloc(s->runs, cap * sizeof *runs);

		if (!runs)
			return -ENOMEM;
		s->runs = runs;
		s->cap = cap;
	}
	memmove(s->runs + i + 1, s->runs + i, (s->n - i) * sizeof *s->runs);
	s->runs[i] = (struct run){ .off = off, .end = off };
	s->n++;
	return 0;
}

/* Closes the gap behind run @i, if there is none. */
static void run_close(struct s3_sums *s, unsigned i)
{
	if (i + 1 >= s->n || s->runs[i].end != s->runs[i + 1].off)
		return;
	run_merge(s, &s->runs[i], &s->runs[i + 1]);
	s->n--;
	memmove(s->runs + i + 1, s->runs + i + 2, (s->n - i - 1) * sizeof *s->runs);
}

/* The first run that ends at @off or later. */
static unsigned run_find(const struct s3_sums *s, uint64_t off)
{
	unsigned lo = 0, hi = s->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (s->runs[mid].end < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Of [off, off+n) what no run has. */
static int crc_add(struct s3_sums *s, uint64_t off, const uint8_t *p, uint64_t n)
{
	while (n > 0) {
		unsigned i = run_find(s, off);
		uint64_t take = n;

		if (i < s->n && s->runs[i].off <= off && off < s->runs[i].end) {
			take = MIN(n, s->runs[i].end - off); /* seen */
		} else {
			unsigned next = i < s->n && s->runs[i].end == off ? i + 1 : i;

			if (next == i && run_insert(s, i, off) < 0)
				return -ENOMEM;
			if (i + 1 < s->n)
				take = MIN(n, s->runs[i + 1].off - off);
			run_append(s, &s->runs[i], p, take);
			run_close(s, i);
		}
		off += take;
		p += take;
		n -= take;
	}
	return 0;
}

static bool is_whole(const struct s3_sums *s)
{
	return s->n == 1 && s->runs[0].off == 0 && s->runs[0].end == s->size;
}

bool s3_sums_over(const struct s3_sums *s)
{
	return s->given_up || s->sha_done || is_whole(s);
}

int s3_sums_verdict(const struct s3_sums *s)
{
	uint8_t value[SHA256_LEN];
	unsigned len = kinds[s->want.kind].len;

	if (s->want.kind == S3_SUM_SHA256) {
		if (!s->sha_done)
			return -EAGAIN;
		return memcmp(s->digest, s->want.value, len) == 0 ? 0 : -EBADMSG;
	}
	if (len == 0 || !is_whole(s))
		return -EAGAIN;
	for (unsigned i = 0; i < len; i++)
		value[i] = (uint8_t)(s->runs[0].crc[s->want.kind] >> 8 * (len - 1 - i));
	return memcmp(value, s->want.value, len) == 0 ? 0 : -EBADMSG;
}

int s3_sums_add(struct s3_sums *s, uint64_t off, const void *p, uint64_t n)
{
	if (s->given_up || n == 0)
		return 0;
	if (s->want.kind == S3_SUM_UNKNOWN || s->want.kind == S3_SUM_SHA256)
		sha_add(s, off, p, n);
	if (!s->given_up && s->want.kind != S3_SUM_SHA256 && crc_add(s, off, p, n) < 0)
		give_up(s);
	return s3_sums_verdict(s) == -EBADMSG ? -EBADMSG : 0;
}
