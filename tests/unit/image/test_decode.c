/* SPDX-License-Identifier: Apache-2.0 */
/* Spans of every kind, alone and in runs, from blobs in pieces; bytes that are not what the index says are refused. */
#include "image/decode.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/macros.h"
#include "image/inflate_stream.h"
#include "image/layer_build.h"
#include "lib/layer_blob.h"
#include "lib/prng.h"

/* A blob, the data that it should make, and spans. */
struct rig {
	struct layer_build *build;
	struct blob blob, data;
	void *p;
	struct layer_index x;
	struct layer_decoder *d;
	struct prng random;
	/* Points of a gzip file become spans. */
	struct layer_span last;
	size_t window_len;
	uint8_t window[LAYER_WINDOW_MAX];
	uint64_t gzip_at, gzip_data;
};

static void setup(struct rig *r)
{
	*r = (struct rig){ .random = { 1 } };
	assert_int_equal(layer_build_new(&r->build, LAYER_LAYOUT_TAR, &(struct layer_limits){ 0 }),
			 0);
	r->d = layer_decoder_new();
	assert_non_null(r->d);
}

static void teardown(struct rig *r)
{
	layer_build_free(r->build);
	layer_decoder_free(r->d);
	blob_free(&r->blob);
	blob_free(&r->data);
	free(r->p);
}

enum proof { NO_DIGEST, WITH_DIGEST };

static void add_span(struct rig *r, struct layer_span s, enum proof proof, const void *window,
		     size_t window_len)
{
	uint8_t digest[SHA256_LEN];

	digest_sha256(r->data.p + s.data, s.data_len, digest);
	assert_int_equal(layer_build_span(r->build, &s, proof == WITH_DIGEST ? digest : NULL,
					  window, window_len),
			 0);
}

static void end(struct rig *r)
{
	struct layer_id id = { .blob_size = r->blob.len, .data_size = r->data.len };
	struct vmofs_err err = VMOFS_ERR_INIT;
	size_t len;

	if (layer_build_end(r->build, &id, &r->p, &len, &err) < 0 ||
	    layer_index_check(&r->x, r->p, len, &err) < 0)
		fail_msg("%s", err.msg);
}

/* -- blobs ------------------------------------------------------------------------------------------- */

static void add_raw(struct rig *r, size_t n, enum proof proof)
{
	struct layer_span s = { .kind = LAYER_SPAN_RAW,
				.data = r->data.len,
				.data_len = n,
				.blob = r->blob.len,
				.blob_len = n };

	blob_add_data(&r->data, n, r->data.len + 1);
	blob_add(&r->blob, r->data.p + s.data, n);
	add_span(r, s, proof, NULL, 0);
}

static void add_zeros(struct rig *r, size_t n)
{
	uint8_t *zeros = calloc(1, n);
	struct layer_span s = { .kind = LAYER_SPAN_ZERO, .data = r->data.len, .data_len = n };

	blob_add(&r->data, zeros, n);
	add_span(r, s, NO_DIGEST, NULL, 0);
	free(zeros);
}

/* Data that no span makes; it is zeros. */
static void add_gap(struct rig *r, size_t n)
{
	uint8_t *zeros = calloc(1, n);

	blob_add(&r->data, zeros, n);
	free(zeros);
}

/* A member or a frame that several spans share; between them is something that is none of theirs. */
static void add_shared(struct rig *r, enum layer_span_kind kind, unsigned spans, size_t each)
{
	uint64_t blob = r->blob.len, from[16], to[16];
	struct blob whole = { 0 };

	for (unsigned i = 0; i < spans; i++) {
		blob_add_data(&whole, 1 + (size_t)prng_below(&r->random, 300), i);
		from[i] = whole.len;
		blob_add_data(&whole, each, i + 100);
		to[i] = whole.len;
	}
	if (kind == LAYER_SPAN_GZIP)
		blob_add_gzip(&r->blob, whole.p, whole.len, 6);
	else
		blob_add_zstd(&r->blob, whole.p, whole.len, 3);
	for (unsigned i = 0; i < spans; i++) {
		struct layer_span s = { .kind = (uint8_t)kind,
					.data = r->data.len,
					.data_len = to[i] - from[i],
					.blob = blob,
					.blob_len = r->blob.len - blob,
					.skip = from[i] };

		blob_add(&r->data, whole.p + from[i], to[i] - from[i]);
		add_span(r, s, i % 2 ? WITH_DIGEST : NO_DIGEST, NULL, 0);
		if (i % 3 == 0)
			add_gap(r, 100);
	}
	blob_free(&whole);
}

static void close_last(struct rig *r, uint64_t in, uint64_t out)
{
	if (!r->last.kind)
		return;
	r->last.blob_len = r->gzip_at + in - r->last.blob;
	r->last.data_len = r->gzip_data + out - r->last.data;
	add_span(r, r->last, WITH_DIGEST, r->window, r->window_len);
	r->last.kind = 0;
	r->window_len = 0;
}

static int on_data(void *arg UNUSED, uint64_t out UNUSED, const void *p UNUSED, size_t n UNUSED,
		   struct vmofs_err *err UNUSED)
{
	return 0;
}

static int on_point(void *arg, const struct inflate_point *at, struct vmofs_err *err UNUSED)
{
	struct rig *r = arg;

	close_last(r, at->in, at->out);
	r->last = (struct layer_span){ .kind = at->member ? LAYER_SPAN_GZIP : LAYER_SPAN_DEFLATE,
				       .data = r->gzip_data + at->out,
				       .blob = r->gzip_at + at->in - (at->bits != 0),
				       .bits = at->bits };
	return 0;
}

static int on_window(void *arg, const void *p, size_t n, struct vmofs_err *err UNUSED)
{
	struct rig *r = arg;

	memcpy(r->window, p, n);
	r->window_len = n;
	return 0;
}

static const struct inflate_sink sink = { on_data, on_point, on_window };

/* A gzip file of members of any length, with spans of 64 KiB. */
static void add_gzip_file(struct rig *r, size_t n, size_t member)
{
	struct inflate_stream *s = inflate_stream_new(KIB(64), &sink, r);
	struct vmofs_err err = VMOFS_ERR_INIT;

	r->gzip_at = r->blob.len;
	r->gzip_data = r->data.len;
	blob_add_data(&r->data, n, n);
	for (size_t at = 0, k; at < n; at += k) {
		k = MIN(member, n - at);
		blob_add_gzip(&r->blob, r->data.p + r->gzip_data + at, k, (int)(at % 9) + 1);
	}
	assert_int_equal(
		inflate_stream_feed(s, r->blob.p + r->gzip_at, r->blob.len - r->gzip_at, &err), 0);
	assert_int_equal(inflate_stream_end(s, &err), 0);
	inflate_stream_free(s);
	close_last(r, r->blob.len - r->gzip_at, n);
}

static void add_everything(struct rig *r)
{
	add_raw(r, 5000, WITH_DIGEST);
	add_gzip_file(r, 1000000, 1000000);
	add_zeros(r, 100000);
	add_shared(r, LAYER_SPAN_GZIP, 7, 300);
	add_gzip_file(r, 500000, 70001);
	add_raw(r, 1, NO_DIGEST);
	add_gap(r, 4096);
	add_shared(r, LAYER_SPAN_ZSTD, 9, 20000);
	add_shared(r, LAYER_SPAN_GZIP, 2, 400000);
	end(r);
}

/* -- decoding ---------------------------------------------------------------------------------------- */

/* From the stretch that is needed, in pieces. */
static int decode(struct rig *r, uint32_t first, uint32_t n, uint8_t *out)
{
	struct layer_stretch st = layer_decode_stretch(&r->x, first, n);
	struct iovec iov[20];
	struct layer_bytes bytes = { .off = st.blob, .iov = iov };
	uint64_t left = st.blob_len;

	assert_true(st.blob + st.blob_len <= r->blob.len);
	while (left > 0 && bytes.n < ARRAY_LEN(iov)) {
		size_t piece = (size_t)prng_below(&r->random, 20000);

		piece = bytes.n + 1 == ARRAY_LEN(iov) ? left : MIN(piece, left);
		iov[bytes.n].iov_base = malloc(piece + 1);
		iov[bytes.n].iov_len = piece;
		memcpy(iov[bytes.n++].iov_base, r->blob.p + st.blob + st.blob_len - left, piece);
		left -= piece;
	}
	memset(out, 0xaa, st.data_len);
	{
		int e = layer_decode(r->d, &r->x, first, n, &bytes, out);

		for (unsigned i = 0; i < bytes.n; i++)
			free(iov[i].iov_base);
		return e;
	}
}

static void check_run(struct rig *r, uint32_t first, uint32_t n)
{
	struct layer_stretch st = layer_decode_stretch(&r->x, first, n);
	uint8_t *out = malloc(st.data_len);

	assert_int_equal(decode(r, first, n, out), 0);
	assert_memory_equal(out, r->data.p + st.data, st.data_len);
	free(out);
}

static void test_every_span(void **state UNUSED)
{
	struct rig r;

	setup(&r);
	add_everything(&r);
	for (uint32_t i = 0; i < r.x.n_spans; i++)
		check_run(&r, i, 1);
	teardown(&r);
}

static void test_runs(void **state UNUSED)
{
	struct rig r;

	setup(&r);
	add_everything(&r);
	check_run(&r, 0, r.x.n_spans);
	for (unsigned i = 0; i < 200; i++) {
		uint32_t first = (uint32_t)prng_below(&r.random, r.x.n_spans);

		check_run(&r, first, 1 + (uint32_t)prng_below(&r.random, r.x.n_spans - first));
	}
	teardown(&r);
}

/* In steps, with little input and little room. */
static void check_steps(struct rig *r, const struct layer_span *s, size_t most)
{
	uint8_t *out = malloc(s->data_len), *piece = malloc(most);
	uint64_t in = 0, made = 0;
	int e = 0;

	assert_int_equal(layer_decode_begin(r->d, &r->x, s), 0);
	while (e == 0) {
		size_t have = (size_t)MIN(most, s->blob_len - in);
		size_t room = 1 + (size_t)prng_below(&r->random, most);
		struct iovec from = { piece, have },
			     to = { out + made, (size_t)MIN(room, s->data_len - made) };
		size_t before = to.iov_len;

		memcpy(piece, r->blob.p + s->blob + in, have);
		e = layer_decode_step(r->d, &from, &to);
		in += have - from.iov_len;
		made += before - to.iov_len;
		assert_true(e >= 0 && made <= s->data_len);
	}
	assert_int_equal(e, 1);
	assert_int_equal(made, s->data_len);
	assert_memory_equal(out, r->data.p + s->data, made);
	free(piece);
	free(out);
}

static void test_steps(void **state UNUSED)
{
	struct rig r;

	setup(&r);
	add_everything(&r);
	for (uint32_t i = 0; i < r.x.n_spans; i++) {
		check_steps(&r, &r.x.spans[i], 7);
		check_steps(&r, &r.x.spans[i], 3000);
		check_steps(&r, &r.x.spans[i], MIB(2));
	}
	teardown(&r);
}

/* A bit of a span's bytes: refused, or (where there is a digest, surely) no matter. */
static void test_wrong_bytes(void **state UNUSED)
{
	uint8_t *out = malloc(MIB(1));
	unsigned refused = 0;
	struct rig r;

	setup(&r);
	add_raw(&r, 3000, WITH_DIGEST);
	add_gzip_file(&r, 200000, 200000);
	add_shared(&r, LAYER_SPAN_GZIP, 3, 300);
	add_shared(&r, LAYER_SPAN_ZSTD, 3, 300);
	end(&r);
	for (unsigned i = 0; i < 1000; i++) {
		uint32_t k = (uint32_t)prng_below(&r.random, r.x.n_spans);
		const struct layer_span *s = &r.x.spans[k];
		uint64_t at = s->blob + prng_below(&r.random, s->blob_len);
		uint8_t bit = (uint8_t)(1 << prng_below(&r.random, 8));
		int e;

		r.blob.p[at] ^= bit;
		e = decode(&r, k, 1, out);
		assert_true(e == 0 || e == -EBADMSG);
		if (e == 0 && s->digest)
			assert_memory_equal(out, r.data.p + s->data, s->data_len);
		refused += e != 0;
		r.blob.p[at] ^= bit;
	}
	assert_true(refused > 500);
	teardown(&r);
	free(out);
}

static void test_too_few_bytes(void **state UNUSED)
{
	uint8_t *out = malloc(1000000);
	struct rig r;

	setup(&r);
	add_everything(&r);
	for (uint32_t k = 0; k < r.x.n_spans; k++) {
		const struct layer_span *s = &r.x.spans[k];
		struct iovec iov = { r.blob.p + s->blob, 0 };
		struct layer_bytes bytes = { .off = s->blob, .iov = &iov, .n = 1 };

		if (s->kind == LAYER_SPAN_ZERO)
			continue;
		assert_int_equal(layer_decode(r.d, &r.x, k, 1, &bytes, out), -EBADMSG);
		bytes.n = 0;
		assert_int_equal(layer_decode(r.d, &r.x, k, 1, &bytes, out), -EBADMSG);
		bytes.n = 1;
		iov.iov_len = s->blob_len / 2;
		/* A shared member's first span may need no more. */
		if (s->skip + s->data_len > 2000)
			assert_int_equal(layer_decode(r.d, &r.x, k, 1, &bytes, out), -EBADMSG);
		/* The stretch that is given begins behind it. */
		bytes.off++;
		assert_int_equal(layer_decode(r.d, &r.x, k, 1, &bytes, out), -EBADMSG);
		/* And after all that. */
		check_run(&r, k, 1);
	}
	teardown(&r);
	free(out);
}

/* A member that has less than the span says. */
static void test_too_little_data(void **state UNUSED)
{
	for (unsigned zstd = 0; zstd < 2; zstd++) {
		struct layer_span s = { .kind = zstd ? LAYER_SPAN_ZSTD : LAYER_SPAN_GZIP,
					.data_len = 1001 };
		uint8_t out[1001];
		struct rig r;

		setup(&r);
		blob_add_data(&r.data, 1001, 1);
		if (zstd)
			blob_add_zstd(&r.blob, r.data.p, 1000, 3);
		else
			blob_add_gzip(&r.blob, r.data.p, 1000, 6);
		s.blob_len = r.blob.len;
		add_span(&r, s, NO_DIGEST, NULL, 0);
		end(&r);
		assert_int_equal(decode(&r, 0, 1, out), -EBADMSG);
		teardown(&r);
	}
}

/* SOCI's way: what is hashed is what was fetched, and all of it. */
static void test_digest_of_the_blob(void **state UNUSED)
{
	uint8_t digest[SHA256_LEN], out[1000];
	struct layer_span s = { .kind = LAYER_SPAN_GZIP, .data_len = 1000 };
	struct rig r;

	setup(&r);
	blob_add_data(&r.data, 1000, 1);
	blob_add_gzip(&r.blob, r.data.p, 1000, 6);
	blob_add(&r.blob, "more", 4);
	s.blob_len = r.blob.len;
	s.digest_of = LAYER_DIGEST_BLOB;
	digest_sha256(r.blob.p, r.blob.len, digest);
	assert_int_equal(layer_build_span(r.build, &s, digest, NULL, 0), 0);
	end(&r);
	if (r.x.spans[0].digest_of != LAYER_DIGEST_BLOB)
		skip();
	check_run(&r, 0, 1);
	check_steps(&r, &r.x.spans[0], 3);
	/* In what no byte of data comes from. */
	r.blob.p[r.blob.len - 1] ^= 1;
	assert_int_equal(decode(&r, 0, 1, out), -EBADMSG);
	r.blob.p[r.blob.len - 1] ^= 1;
	r.blob.p[4] ^= 1; /* the time in the header */
	assert_int_equal(decode(&r, 0, 1, out), -EBADMSG);
	teardown(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_span),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_wrong_bytes),
		cmocka_unit_test(test_too_few_bytes),
		cmocka_unit_test(test_too_little_data),
		cmocka_unit_test(test_digest_of_the_blob),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
