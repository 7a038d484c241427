/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a directory's new name; see the header. All of it blocks, with the lock held across system calls.
 */
#include "write/wmove.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "store/journal.h"
#include "write/writer_private.h"

struct wmove {
	struct wmove *next; /* found, and not taken */
	char *from;         /* owned */
	char *to;           /* owned */
	struct mutex lock;  /* LOCK_RANK_LOG_FILE */
	/* lock: lock, from here */
	struct journal_log *log;
	bool back;
	char *text; /* owned; what the log has */
	size_t len;
};

/* ---- the text ---- */

/* The text at *@p, which moves behind its zero; NULL: it has none. */
static const char *take_text(const char **p, const char *end)
{
	const char *text = *p;
	const char *zero = text < end ? memchr(text, '\0', (size_t)(end - text)) : NULL;

	if (!zero)
		return NULL;
	*p = zero + 1;
	return text;
}

static bool is_dir_key(const char *key)
{
	size_t n = key ? strlen(key) : 0;

	return n > 1 && n < VMOFS_KEY_MAX && key[n - 1] == '/';
}

bool wmove_read_next(struct wmove_text *t, const char **key, const char **validator, uint64_t *size)
{
	const char *digits;
	char *stop;

	*key = take_text(&t->rest, t->end);
	*validator = *key ? take_text(&t->rest, t->end) : NULL;
	digits = *validator ? take_text(&t->rest, t->end) : NULL;
	if (!digits || digits[0] < '0' || digits[0] > '9')
		return false;
	*size = strtoull(digits, &stop, 10);
	return !*stop;
}

int wmove_read(const char *p, size_t len, struct wmove_text *out)
{
	*out = (struct wmove_text){ 0 };
	if (!len || (p[0] != '+' && p[0] != '-'))
		return -EBADMSG;
	out->rest = p + 1;
	out->end = p + len;
	out->back = p[0] == '-';
	out->to = take_text(&out->rest, out->end);
	return is_dir_key(out->to) ? 0 : -EBADMSG;
}

/* ---- the log ---- */

/* All of the text anew: it is short. */
static int write_locked(struct wmove *m) REQUIRES(m->lock)
{
	const struct journal_state st = { .size = m->len };
	int r = journal_begin(m->log);

	if (!r)
		r = journal_pages(m->log, 0, m->text, m->len);
	return r ? r : journal_commit(m->log, &st, true);
}

static int append_locked(struct wmove *m, const void *p, size_t n) REQUIRES(m->lock)
{
	char *text = realloc(m->text, m->len + n);

	if (!text)
		return -ENOMEM;
	memcpy(text + m->len, p, n);
	m->text = text;
	m->len += n;
	return 0;
}

static void move_free(struct wmove *m)
{
	mutex_destroy(&m->lock);
	free(m->from);
	free(m->to);
	free(m->text);
	free(m);
}

static struct wmove *move_new(const char *from, const char *to)
{
	struct wmove *m = calloc(1, sizeof *m);

	if (!m)
		return NULL;
	mutex_init(&m->lock, LOCK_RANK_LOG_FILE);
	m->from = strdup(from);
	m->to = strdup(to);
	if (m->from && m->to)
		return m;
	move_free(m);
	return NULL;
}

static int begin_locked(struct wmove *m, struct writer *w) REQUIRES(m->lock)
{
	const struct journal_base none = { .exists = false };
	int r = append_locked(m, "+", 1);

	if (!r)
		r = append_locked(m, m->to, strlen(m->to) + 1);
	if (!r)
		r = journal_log_new(w->p.journal, m->from, &none, &m->log);
	return r ? r : write_locked(m);
}

int wmove_begin(struct writer *w, const char *from, const char *to, struct wmove **out)
{
	struct wmove *m;
	int r;

	*out = NULL;
	if (!w || !w->p.journal)
		return 0;
	m = move_new(from, to);
	if (!m)
		return -ENOMEM;
	mutex_lock(&m->lock);
	r = begin_locked(m, w);
	mutex_unlock(&m->lock);
	if (r < 0)
		wmove_end(m, true);
	else
		*out = m;
	return r;
}

int wmove_copied(struct wmove *m, const char *key, const struct vmofs_version *now)
{
	char digits[24];
	size_t before;
	int n, r;

	if (!m)
		return 0;
	n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)now->size);
	mutex_lock(&m->lock);
	before = m->len;
	r = append_locked(m, key, strlen(key) + 1);
	if (!r)
		r = append_locked(m, now->validator, strlen(now->validator) + 1);
	if (!r)
		r = append_locked(m, digits, (size_t)n + 1);
	if (!r)
		r = write_locked(m);
	if (r < 0)
		m->len = before;
	mutex_unlock(&m->lock);
	return r;
}

int wmove_back(struct wmove *m)
{
	int r;

	if (!m)
		return 0;
	mutex_lock(&m->lock);
	m->back = true;
	m->text[0] = '-';
	r = write_locked(m);
	mutex_unlock(&m->lock);
	return r;
}

void wmove_end(struct wmove *m, bool done)
{
	int r = 0;

	if (!m)
		return;
	mutex_lock(&m->lock);
	if (done && m->log)
		r = journal_remove(m->log);
	else
		journal_log_close(m->log);
	mutex_unlock(&m->lock);
	if (r < 0)
		log_warn("the journal still has that '%s' becomes '%s', which is done: %s", m->from,
			 m->to, strerror(-r));
	move_free(m);
}

/* ---- looking ---- */

const char *wmove_from(const struct wmove *m)
{
	return m->from;
}

const char *wmove_to(const struct wmove *m)
{
	return m->to;
}

/* One thread has it. */
bool wmove_is_back(const struct wmove *m) NO_TSA
{
	return m->back;
}

static bool has_locked(const struct wmove *m, const char *key, const struct vmofs_version *v) NO_TSA
{
	struct wmove_text t;
	const char *k, *validator;
	uint64_t size;

	if (wmove_read(m->text, m->len, &t) < 0)
		return false;
	while (wmove_read_next(&t, &k, &validator, &size))
		if (size == v->size && !strcmp(k, key) && !strcmp(validator, v->validator))
			return true;
	return false;
}

bool wmove_has(const struct wmove *m, const char *key, const struct vmofs_version *v)
{
	struct mutex *lock = (struct mutex *)&m->lock;
	bool has;

	mutex_lock(lock);
	has = has_locked(m, key, v);
	mutex_unlock(lock);
	return has;
}

/* ---- after a start ---- */

struct text_sink {
	struct journal_sink sink; /* first */
	struct wmove *m;
};

static int take_pages(struct journal_sink *s, uint64_t off, const void *buf, uint64_t len) NO_TSA
{
	struct text_sink *t = container_of(s, struct text_sink, sink);

	return off == t->m->len ? append_locked(t->m, buf, (size_t)len) : -EBADMSG;
}

static int take_zeros(struct journal_sink *s UNUSED, uint64_t off UNUSED, uint64_t len UNUSED)
{
	return -EBADMSG;
}

static int read_found(struct wmove *m) NO_TSA
{
	struct text_sink s = { .sink = { .pages = take_pages, .zeros = take_zeros }, .m = m };
	struct wmove_text t;
	int r = journal_read(m->log, &s.sink);

	if (!r)
		r = wmove_read(m->text, m->len, &t);
	if (r < 0)
		return r;
	m->back = t.back;
	free(m->to);
	m->to = strdup(t.to);
	return m->to ? 0 : -ENOMEM;
}

void wmove_found(struct writer *w, struct journal_found *found)
{
	struct wmove *m = is_dir_key(found->key) ? move_new(found->key, "") : NULL;
	struct wmove **at = &w->moves;
	int r = -ENOMEM;

	if (m) {
		m->log = found->log;
		r = read_found(m);
	} else {
		journal_log_close(found->log);
	}
	if (r < 0) {
		log_error("a directory's new name stays in the journal: %s", strerror(-r));
		wmove_end(m, false);
		return;
	}
	while (*at)
		at = &(*at)->next;
	*at = m;
}

struct wmove *wmove_next(struct writer *w)
{
	struct wmove *m = w ? w->moves : NULL;

	if (m)
		w->moves = m->next;
	return m;
}

void wmove_drop_all(struct writer *w)
{
	struct wmove *m;

	while ((m = wmove_next(w)))
		wmove_end(m, false);
}
