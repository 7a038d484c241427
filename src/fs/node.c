/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing of nodes. Most validators are a quoted MD5, "md5-parts" or the date that is the mtime: 16,
 * 20 and 0 bytes instead of 34 to 40.
 */
#include "fs/node.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"

enum { MD5_LEN = 16, MD5_TEXT = 34 };

struct packed {
	enum node_validator kind;
	size_t len;
	char bytes[2 + NODE_VALIDATOR_MAX];
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool pack_hex(const char *text, char out[MD5_LEN])
{
	for (unsigned i = 0; i < MD5_LEN; i++) {
		int hi = hex_digit(text[2 * i]);
		int lo = hi < 0 ? -1 : hex_digit(text[2 * i + 1]);

		if (lo < 0)
			return false;
		out[i] = (char)(hi << 4 | lo);
	}
	return true;
}

/* The decimal after "md5-", up to the closing quote; 0: it is none that can be written back the same. */
static uint32_t pack_parts(const char *text)
{
	char again[16];
	char *end;
	unsigned long n;

	if (*text < '1' || *text > '9' || strlen(text) > 11)
		return 0;
	n = strtoul(text, &end, 10);
	if (n > UINT32_MAX || strcmp(end, "\""))
		return 0;
	snprintf(again, sizeof again, "%lu\"", n);
	return strcmp(again, text) ? 0 : (uint32_t)n;
}

static void http_date(int64_t mtime_ns, char out[32])
{
	time_t t = (time_t)(mtime_ns / (int64_t)NSEC_PER_SEC);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 32, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static bool is_date_of(const char *text, int64_t mtime_ns)
{
	char date[32];

	if (!mtime_ns)
		return false;
	http_date(mtime_ns, date);
	return !strcmp(text, date);
}

static bool pack_md5(struct packed *p, const char *text)
{
	uint32_t parts;

	if (text[0] != '"' || strlen(text) < MD5_TEXT || !pack_hex(text + 1, p->bytes))
		return false;
	if (!strcmp(text + MD5_TEXT - 1, "\"")) {
		p->kind = VALIDATOR_MD5;
		p->len = MD5_LEN;
		return true;
	}
	parts = text[MD5_TEXT - 1] == '-' ? pack_parts(text + MD5_TEXT) : 0;
	if (!parts)
		return false;
	memcpy(p->bytes + MD5_LEN, &parts, sizeof parts);
	p->kind = VALIDATOR_MD5_PARTS;
	p->len = MD5_LEN + sizeof parts;
	return true;
}

static void pack(struct packed *p, const char *text, int64_t mtime_ns)
{
	uint16_t len = (uint16_t)strnlen(text, NODE_VALIDATOR_MAX - 1);

	p->kind = VALIDATOR_NONE;
	p->len = 0;
	if (!len || pack_md5(p, text))
		return;
	if (is_date_of(text, mtime_ns)) {
		p->kind = VALIDATOR_DATE;
		return;
	}
	p->kind = VALIDATOR_TEXT;
	p->len = sizeof len + len;
	memcpy(p->bytes, &len, sizeof len);
	memcpy(p->bytes + sizeof len, text, len);
}

static const char *packed_at(const struct node *n)
{
	return n->tail + n->name_len + 1;
}

static size_t packed_len(const struct node *n)
{
	uint16_t len;

	switch ((enum node_validator)n->validator) {
	case VALIDATOR_MD5:
		return MD5_LEN;
	case VALIDATOR_MD5_PARTS:
		return MD5_LEN + sizeof(uint32_t);
	case VALIDATOR_TEXT:
		memcpy(&len, packed_at(n), sizeof len);
		return sizeof len + len;
	default:
		return 0;
	}
}

static void unpack_md5(const struct node *n, char out[NODE_VALIDATOR_MAX])
{
	const unsigned char *p = (const unsigned char *)packed_at(n);
	uint32_t parts;
	char *to = out;

	*to++ = '"';
	for (unsigned i = 0; i < MD5_LEN; i++)
		to += sprintf(to, "%02x", p[i]);
	memcpy(&parts, p + MD5_LEN, n->validator == VALIDATOR_MD5_PARTS ? sizeof parts : 0);
	if (n->validator == VALIDATOR_MD5_PARTS)
		to += sprintf(to, "-%u", parts);
	strcpy(to, "\"");
}

void node_validator(const struct node *n, char out[NODE_VALIDATOR_MAX])
{
	const char *p = packed_at(n);
	size_t len = packed_len(n);

	out[0] = '\0';
	switch ((enum node_validator)n->validator) {
	case VALIDATOR_NONE:
		break;
	case VALIDATOR_MD5:
	case VALIDATOR_MD5_PARTS:
		unpack_md5(n, out);
		break;
	case VALIDATOR_DATE:
		http_date(n->mtime_ns, out);
		break;
	case VALIDATOR_TEXT:
		memcpy(out, p + sizeof(uint16_t), len - sizeof(uint16_t));
		out[len - sizeof(uint16_t)] = '\0';
	}
}

/* ---- life ---- */

static int64_t entry_mtime(const struct vmofs_entry *e)
{
	return (int64_t)e->mtime.tv_sec * (int64_t)NSEC_PER_SEC + e->mtime.tv_nsec;
}

static size_t entry_ext(const struct vmofs_entry *e, struct node_ext *x)
{
	*x = (struct node_ext){
		.has = e->has,
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.target_len = e->has & VMOFS_HAS_TARGET ? (uint32_t)strlen(e->target) : 0,
	};
	return e->has ? sizeof *x + x->target_len : 0;
}

static void node_fill(struct node *n, const struct vmofs_entry *e, const struct packed *p)
{
	struct node_ext x;
	char *to = n->tail + n->name_len + 1;

	n->size = e->size;
	n->mtime_ns = entry_mtime(e);
	n->validator = (uint8_t)p->kind;
	memcpy(to, p->bytes, p->len);
	if (!entry_ext(e, &x))
		return;
	n->flags |= NODE_EXT;
	if ((e->has & VMOFS_HAS_MODE && S_ISLNK(e->mode)) || e->has & VMOFS_HAS_TARGET)
		n->flags |= NODE_LINK;
	memcpy(to + p->len, &x, sizeof x);
	memcpy(to + p->len + sizeof x, e->has & VMOFS_HAS_TARGET ? e->target : "", x.target_len);
}

struct node *node_new(const char *name, size_t len, const struct vmofs_entry *e)
{
	bool is_dir = !e || e->type == VMOFS_ENTRY_PREFIX;
	struct packed p = { 0 };
	struct node_ext x;
	struct node *n;
	size_t more = 0;

	if (!is_dir) {
		pack(&p, e->validator, entry_mtime(e));
		more = p.len + entry_ext(e, &x);
	}
	n = malloc(sizeof *n + len + 1 + more);
	if (!n)
		return NULL;
	*n = (struct node){ .slot = NODE_NO_SLOT, .name_len = (uint8_t)len };
	memcpy(n->tail, name, len);
	n->tail[len] = '\0';
	if (is_dir)
		n->flags = NODE_DIR;
	else
		node_fill(n, e, &p);
	return n;
}

static size_t ext_len(const struct node *n)
{
	struct node_ext x;

	return node_ext(n, &x) ? sizeof x + x.target_len : 0;
}

struct node *node_renamed(const struct node *n, const char *name, size_t len)
{
	size_t more = packed_len(n) + ext_len(n);
	struct node *now = malloc(sizeof *now + len + 1 + more);

	if (!now)
		return NULL;
	*now = *n;
	now->slot = NODE_NO_SLOT;
	now->name_len = (uint8_t)len;
	memcpy(now->tail, name, len);
	now->tail[len] = '\0';
	memcpy(now->tail + len + 1, packed_at(n), more);
	return now;
}

void node_free(struct node *n)
{
	free(n);
}

uint64_t node_bytes(const struct node *n)
{
	return malloc_usable_size((void *)n) + sizeof(size_t);
}

/* ---- attributes ---- */

bool node_ext(const struct node *n, struct node_ext *out)
{
	if (!(n->flags & NODE_EXT))
		return false;
	memcpy(out, packed_at(n) + packed_len(n), sizeof *out);
	return true;
}

const char *node_target(const struct node *n, size_t *len)
{
	struct node_ext x;

	if (!node_ext(n, &x) || !(x.has & VMOFS_HAS_TARGET))
		return NULL;
	*len = x.target_len;
	return packed_at(n) + packed_len(n) + sizeof x;
}

bool node_is_version(const struct node *n, const struct vmofs_entry *e)
{
	char mine[NODE_VALIDATOR_MAX];

	if (n->size != VMOFS_SIZE_UNKNOWN && e->size != VMOFS_SIZE_UNKNOWN && n->size != e->size)
		return false;
	node_validator(n, mine);
	if (*mine && *e->validator)
		return !strncmp(mine, e->validator, sizeof mine - 1);
	/* Dates of an index page have minutes, those of a HEAD seconds. */
	if (!n->mtime_ns || !e->mtime.tv_sec || n->flags & NODE_HEADED)
		return true;
	return n->mtime_ns == entry_mtime(e);
}

void node_entry(const struct node *n, struct vmofs_entry *e, char validator[NODE_VALIDATOR_MAX])
{
	struct node_ext x = { 0 };

	node_validator(n, validator);
	(void)node_ext(n, &x);
	*e = (struct vmofs_entry){
		.type = VMOFS_ENTRY_FILE,
		.key = "",
		.size = n->size,
		.mtime = { .tv_sec = n->mtime_ns / (int64_t)NSEC_PER_SEC,
			   .tv_nsec = n->mtime_ns % (int64_t)NSEC_PER_SEC },
		.validator = validator,
		.has = x.has & ~(unsigned)VMOFS_HAS_TARGET,
		.mode = x.mode,
		.uid = x.uid,
		.gid = x.gid,
		.target = "",
	};
}
