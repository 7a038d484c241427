/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON that comes in pieces, as tokens: no tree, and no more memory than the longest string that somebody wants. The grammar
 * is RFC 8259's; strings are bytes (what is not UTF-8 stays as it is), escapes become UTF-8, half a surrogate pair
 * U+FFFD. One thread.
 */
#ifndef IMAGE_JSON_STREAM_H
#define IMAGE_JSON_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32u

enum json_event {
	JSON_OBJECT,
	JSON_OBJECT_END,
	JSON_ARRAY,
	JSON_ARRAY_END,
	JSON_KEY,
	JSON_STRING,
	JSON_INT,   /* in the range of int64_t, without fraction and exponent */
	JSON_OTHER, /* true, false, null, and other numbers: its text */
	JSON_NEVENTS
};

struct json_token {
	enum json_event event;
	unsigned
		depth; /* of the container that it is in, 0: none; of OBJECT and ARRAY, and their ends: their own */
	const char *p; /* borrowed for the call; no zero follows */
	size_t len;
	int64_t number; /* JSON_INT */
};

#define JSON_SKIP 1

struct json_sink {
	/* 0 to go on; JSON_SKIP, after a JSON_KEY: nothing of its value is told; -errno ends it all. */
	int (*token)(struct json_sink *s, const struct json_token *t);
};

struct json_stream;

/* Strings that are told are at most @string_max bytes long. NULL: no memory. @sink is borrowed. */
struct json_stream *json_stream_new(struct json_sink *sink, size_t string_max);
void json_stream_free(struct json_stream *s); /* NULL is fine */

/* -EBADMSG: it is not JSON; -E2BIG: too deep, or a string is too long; -ENOMEM; or what the sink said. Then it is over. */
int json_stream_feed(struct json_stream *s, const void *p, size_t n);
/* Nothing follows. -EBADMSG: something is missing. */
int json_stream_end(struct json_stream *s);

#endif
