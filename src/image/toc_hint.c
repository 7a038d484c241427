/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Annotations of layers: those of stargz-snapshotter, and of containers/storage in both generations (until 1.43 its keys
 * began with "io.containers.", which stargz-snapshotter still writes). Pure functions, any thread.
 */
#include "image/toc.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/macros.h"

#define STARGZ "containerd.io/snapshot/stargz/"
#define NEW    "io.github.containers.zstd-chunked."
#define OLD    "io.containers.zstd-chunked."

enum hint {
	RAW_DIGEST,
	PACKED_DIGEST,
	SPLIT_DIGEST,
	DATA_LAYER,
	TAR_SIZE,
	POSITION,
	SPLIT_POSITION,
};

static const struct {
	const char *key;
	enum hint hint;
	uint8_t generation; /* of zstd:chunked's keys */
} hint_keys[] = {
	{ STARGZ "toc.digest", RAW_DIGEST, 0 },
	{ STARGZ "layer.digest", DATA_LAYER, 0 },
	{ "io.containers.estargz.uncompressed-size", TAR_SIZE, 0 },
	{ NEW "manifest-checksum", PACKED_DIGEST, 2 },
	{ NEW "manifest-position", POSITION, 2 },
	{ NEW "tarsplit-position", SPLIT_POSITION, 0 },
	{ NEW "tarsplit-checksum", SPLIT_DIGEST, 0 },
	{ OLD "manifest-checksum", PACKED_DIGEST, 1 },
	{ OLD "manifest-position", POSITION, 1 },
};

/* Decimal numbers with colons between them; false where there are not exactly @n. */
static bool take_numbers(const char *p, uint64_t *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!isdigit((unsigned char)*p))
			return false;
		for (v[i] = 0; isdigit((unsigned char)*p); p++) {
			if (__builtin_mul_overflow(v[i], 10, &v[i]) ||
			    __builtin_add_overflow(v[i], (uint64_t)(*p - '0'), &v[i]))
				return false;
		}
		if (*p != (i + 1 < n ? ':' : '\0'))
			return false;
		p++;
	}
	return true;
}

static bool take_position(struct toc_hints *h, const char *value)
{
	uint64_t v[4];

	if (!take_numbers(value, v, 4) || v[3] != 1)
		return false;
	h->place.off = v[0];
	h->place.len = v[1];
	h->place.raw_len = v[2];
	h->has_position = true;
	return true;
}

static bool take_split(struct toc_hints *h, const char *value)
{
	uint64_t v[3];

	if (!take_numbers(value, v, 3))
		return false;
	h->place.split_off = v[0];
	h->place.split_len = v[1];
	h->place.split_raw_len = v[2];
	h->has_split = true;
	return true;
}

static bool take_digest(const char *value, uint8_t *out, bool *has)
{
	*has = toc_parse_digest(value, strlen(value), out);
	return *has;
}

static bool take_hint(struct toc_hints *h, enum hint hint, const char *value)
{
	switch (hint) {
	case RAW_DIGEST:
		return take_digest(value, h->raw_digest, &h->has_raw_digest);
	case PACKED_DIGEST:
		return take_digest(value, h->packed_digest, &h->has_packed_digest);
	case SPLIT_DIGEST:
		return take_digest(value, h->split_digest, &h->has_split_digest);
	case DATA_LAYER:
		return take_digest(value, h->data_layer, &h->has_data_layer);
	case TAR_SIZE:
		h->has_tar_size = take_numbers(value, &h->tar_size, 1);
		return h->has_tar_size;
	case POSITION:
		return take_position(h, value);
	case SPLIT_POSITION:
		return take_split(h, value);
	}
	return false;
}

/* Of a layer with the keys of both generations, the new ones count, whichever come first. */
static bool outdated(struct toc_hints *h, enum hint hint, uint8_t generation)
{
	if (hint != PACKED_DIGEST && hint != POSITION)
		return false;
	if (generation > h->generation) {
		h->has_packed_digest = false;
		h->has_position = false;
		h->generation = generation;
	}
	return generation < h->generation;
}

int toc_hint(struct toc_hints *h, const char *key, const char *value, struct vmofs_err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(hint_keys); i++) {
		if (strcmp(key, hint_keys[i].key) != 0)
			continue;
		if (outdated(h, hint_keys[i].hint, hint_keys[i].generation))
			return 0;
		if (!take_hint(h, hint_keys[i].hint, value))
			return vmofs_err_set(err, -EBADMSG,
					     "the annotation '%s' has a value that it cannot have",
					     key);
		return 0;
	}
	return 0;
}

/* Whether [off, off + len) can be the data of a skippable frame of the blob. */
static bool in_blob(uint64_t off, uint64_t len, uint64_t size)
{
	return len && off >= 8 && off <= size && len <= size - off;
}

int toc_hints_place(const struct toc_hints *h, uint64_t blob_size, struct toc_place *out,
		    struct vmofs_err *err)
{
	*out = (struct toc_place){ 0 };
	if (h->has_raw_digest && h->has_packed_digest && h->generation == 2)
		return vmofs_err_set(err, -EBADMSG,
				     "the layer claims to be eStargz and zstd:chunked at once");
	if (!h->has_packed_digest && !h->has_position) {
		out->kind = h->has_raw_digest ? TOC_ESTARGZ : TOC_NONE;
		return 0;
	}
	if (!h->has_position)
		return vmofs_err_set(err, -EBADMSG,
				     "the annotations do not say where the table of contents is");
	*out = h->place;
	out->kind = TOC_ZSTD_CHUNKED;
	if (!in_blob(out->off, out->len, blob_size) ||
	    (out->split_len && !in_blob(out->split_off, out->split_len, blob_size)))
		return vmofs_err_set(err, -EBADMSG,
				     "the annotations speak of bytes that are not in the layer");
	out->data_end = out->off - 8;
	if (out->split_len)
		out->data_end = MIN(out->data_end, out->split_off - 8);
	return 0;
}
