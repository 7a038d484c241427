/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes at a web server: what plain HTTP has (PUT, DELETE), and what WebDAV adds (MKCOL, COPY). Attributes have no place there: they
 * are taken and not kept. A thread that may block.
 */
#include "http/http_change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/macros.h"
#include "http/index.h"
#include "http/index_page.h"

static int place_of(struct vmofs_source *s, const char *key, struct http_place *p,
		    char url[URL_MAX], struct vmofs_err *err)
{
	int r;

	index_place(s, p);
	r = http_check_key(p, key, err);
	if (r == 0 && index_url(s, key, url) < 0)
		r = vmofs_err_set(err, -ENAMETOOLONG, "the URL of '%s' is too long", key);
	return r;
}

static int no_memory(struct vmofs_err *err)
{
	return vmofs_err_set(err, -ENOMEM, "no memory for a request");
}

/* @op is freed. A refusal is told as such. */
static int run_op(struct http_op *op, const struct http_place *p, const char *verb,
		  const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	int r = http_op_run(op, p->origin, w);
	int refused = r < 0 ? http_refused_code(op->status) : 0;

	if (r < 0)
		r = http_explain(verb, op->url, r != -EINTR && refused ? refused : r, op->status,
				 op->msg, err);
	return r;
}

/* What is at @url is not @expect: that is told. */
static int check_expected(const struct http_place *p, const char *verb, const char *url,
			  const struct vmofs_version *expect, const struct vmofs_change_wait *w,
			  struct http_seen *seen, struct vmofs_err *err)
{
	int r = http_look(p, url, w, seen, err);

	if (r < 0 || http_is_expected(expect, seen))
		return r;
	if (!seen->exists)
		return http_explain(verb, url, -ENOENT, 0, "it is not there", err);
	return http_explain(verb, url, -ESTALE, 412, "another version is there", err);
}

/* -- store ------------------------------------------------------------------------------------ */

static bool is_attributes_only(const struct vmofs_store *st)
{
	return st->base.exists && !st->n_changed && st->size == st->base.size;
}

static int change_store(struct vmofs_source *s, struct vmofs_store *st, struct vmofs_err *err)
{
	struct http_place p;
	char url[URL_MAX];
	int r = place_of(s, st->key, &p, url, err);

	if (r < 0)
		return r;
	if (!is_attributes_only(st))
		return http_upload(&p, url, st, err);
	st->now = st->base;
	return 0;
}

/* -- contents that are there ------------------------------------------------------------------ */

struct contents {
	struct http_op *op;
	struct sha256 *sum;
	int fd; /* gets them too; -1: none */
	uint64_t n;
};

static struct contents *contents_of(struct http_op *op)
{
	return op->arg;
}

static void contents_reset(struct http_op *op)
{
	struct contents *c = contents_of(op);
	uint8_t unused[SHA256_LEN];

	sha256_end(c->sum, unused);
	c->n = 0;
}

static int contents_data(struct http_op *op, const void *buf, size_t n)
{
	struct contents *c = contents_of(op);

	for (size_t at = 0; c->fd >= 0 && at < n;) {
		ssize_t r = pwrite(c->fd, (const char *)buf + at, n - at, (off_t)(c->n + at));

		if (r < 0)
			return -EIO;
		at += (size_t)r;
	}
	sha256_add(c->sum, buf, n);
	c->n += n;
	return 0;
}

/* All of @url, into c->fd and c->sum; what its answer says of the version into @seen. */
static int get_contents(const struct http_place *p, const char *url, struct contents *c,
			const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	int r;

	c->op = http_op_new("GET");
	c->sum = sha256_new();
	if (!c->op || !c->sum)
		return no_memory(err);
	c->op->arg = c;
	c->op->data = contents_data;
	c->op->reset = contents_reset;
	c->op->ask.call.max_body = SIZE_MAX;
	memcpy(c->op->url, url, strlen(url) + 1);
	r = http_op_run(c->op, p->origin, w);
	return r < 0 ? http_explain("read", url, r, c->op->status, c->op->msg, err) : 0;
}

static void contents_release(struct contents *c)
{
	http_op_free(c->op);
	sha256_free(c->sum);
}

/* The size is in the attempt's name: most that is not ours need not be read. */
static bool is_size_of(uint64_t size, const char *attempt)
{
	char text[VMOFS_ATTEMPT_LEN + 1];

	snprintf(text, sizeof text, "%010llx",
		 (unsigned long long)(size & ((UINT64_C(1) << 40) - 1)));
	return size == VMOFS_SIZE_UNKNOWN || strncmp(text, attempt, strlen(text)) == 0;
}

static int compare_contents(const struct http_place *p, const char *url, const char *attempt,
			    const struct http_seen *seen, const struct vmofs_change_wait *w,
			    struct vmofs_err *err)
{
	struct contents c = { .fd = -1 };
	char text[VMOFS_ATTEMPT_LEN + 1];
	struct http_seen then;
	int r = get_contents(p, url, &c, w, err);

	if (r == 0) {
		http_attempt_of(c.n, c.sum, text);
		r = strcmp(text, attempt) == 0;
	}
	contents_release(&c);
	if (r < 0)
		return r;
	/* It was one version that has been read. */
	if (http_look(p, url, w, &then, err) < 0)
		return err->code;
	if (!then.exists || strcmp(then.etag, seen->etag) != 0 ||
	    strcmp(then.last_modified, seen->last_modified) != 0)
		return http_explain("compare", url, -EIO, 0, "it changes meanwhile", err);
	return r;
}

int http_compare(const struct http_place *p, const char *url, const char *attempt,
		 struct vmofs_version *now, const struct vmofs_change_wait *w,
		 struct vmofs_err *err)
{
	struct http_seen seen;
	int r = http_look(p, url, w, &seen, err);

	if (r < 0)
		return r;
	http_version_of(&seen, now);
	if (!seen.exists || seen.dir || !is_size_of(seen.size, attempt))
		return 0;
	return compare_contents(p, url, attempt, &seen, w, err);
}

static int change_attempted(struct vmofs_source *s, const char *key, const char *attempt,
			    struct vmofs_version *now, const struct vmofs_change_wait *wait,
			    struct vmofs_err *err)
{
	struct http_place p;
	char url[URL_MAX];
	int r = place_of(s, key, &p, url, err);

	return r < 0 ? r : http_compare(&p, url, attempt, now, wait, err);
}

/* -- remove ----------------------------------------------------------------------------------- */

struct emptiness {
	struct index_page page;
	int code;
};

static void emptiness_ended(struct index_page *page, int code,
			    const struct http_refusal *why UNUSED)
{
	container_of(page, struct emptiness, page)->code = code;
}

/* To remove a directory is to remove all that is in it, so it is looked at once more. */
static int check_empty(const struct http_place *p, const char *url, struct vmofs_err *err)
{
	struct emptiness *e = calloc(1, sizeof *e);
	int r = 0;

	if (!e)
		return no_memory(err);
	e->page.origin = p->origin;
	e->page.ended = emptiness_ended;
	memcpy(e->page.url, url, strlen(url) + 1);
	index_page_get_wait(&e->page);
	if (e->code == 0 && e->page.list.n)
		r = http_explain("remove", url, -ENOTEMPTY, 0, "something is in it", err);
	else if (e->code < 0 && e->code != -ENOENT)
		r = http_explain("remove", url, e->code, 0, "it cannot be listed", err);
	index_page_release(&e->page);
	free(e);
	return r;
}

static bool is_dir_key(const char *key)
{
	size_t n = strlen(key);

	return n && key[n - 1] == '/';
}

static int remove_url(const struct http_place *p, const char *url,
		      const struct vmofs_version *expect, const struct vmofs_change_wait *wait,
		      struct vmofs_err *err)
{
	char value[sizeof expect->validator];
	const char *name = http_condition(expect, value);
	struct http_op *op = http_op_new("DELETE");
	int r;

	if (!op)
		return no_memory(err);
	memcpy(op->url, url, strlen(url) + 1);
	if (name)
		http_op_line(op, name, value);
	r = run_op(op, p, "remove", wait, err);
	/* The answer to a first try may have been lost. */
	if (r == -ENOENT && (!expect || op->ask.requests > 1))
		r = 0;
	http_op_free(op);
	return r;
}

static int change_remove(struct vmofs_source *s, const char *key,
			 const struct vmofs_version *expect, const struct vmofs_change_wait *wait,
			 struct vmofs_err *err)
{
	struct http_seen seen;
	struct http_place p;
	char url[URL_MAX];
	int r = place_of(s, key, &p, url, err);

	if (r == 0 && is_dir_key(key))
		r = check_empty(&p, url, err);
	if (r == 0 && http_must_compare(&p, expect))
		r = check_expected(&p, "remove", url, expect, wait, &seen, err);
	return r < 0 ? r : remove_url(&p, url, expect, wait, err);
}

/* -- copy ------------------------------------------------------------------------------------- */

static int copy_by_server(const struct http_place *p, const char *from,
			  const struct vmofs_version *expect, const char *to,
			  const struct vmofs_version *to_expect, struct http_reply *answer,
			  const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	char value[sizeof expect->validator];
	const char *name = http_condition(expect, value);
	struct http_op *op = http_op_new("COPY");
	int r;

	if (!op)
		return no_memory(err);
	memcpy(op->url, from, strlen(from) + 1);
	op->ask.once = true;
	http_op_line(op, "Destination", to);
	http_op_line(op, "Overwrite", to_expect && !to_expect->exists ? "F" : "T");
	if (name)
		http_op_line(op, name, value);
	r = run_op(op, p, "copy", w, err);
	*answer = op->ask.call.reply;
	/* The tag is that of what was asked for, if of anything. */
	answer->etag[0] = '\0';
	answer->location = NULL;
	http_op_free(op);
	return r;
}

struct copying {
	struct vmofs_store st;
	int fd;
};

static int copying_read(struct vmofs_store *st, uint64_t off, void *buf, uint64_t len)
{
	struct copying *c = container_of(st, struct copying, st);

	for (uint64_t at = 0; at < len;) {
		ssize_t r = pread(c->fd, (char *)buf + at, len - at, (off_t)(off + at));

		if (r <= 0)
			return -EIO;
		at += (uint64_t)r;
	}
	return 0;
}

static int copying_commit(struct vmofs_store *st UNUSED)
{
	return 0;
}

/* Down and up again, by way of a file without a name. */
static int copy_by_us(const struct http_place *p, const char *from, const char *to,
		      const struct vmofs_version *to_expect, struct vmofs_version *now,
		      const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	FILE *spool = tmpfile();
	struct contents c = { .fd = spool ? fileno(spool) : -1 };
	struct copying *copy = calloc(1, sizeof *copy);
	int r = spool && copy ? get_contents(p, from, &c, w, err) : no_memory(err);

	if (r == 0) {
		copy->fd = c.fd;
		copy->st.size = c.n;
		copy->st.wait = *w;
		copy->st.read = copying_read;
		copy->st.commit = copying_commit;
		copy->st.base = to_expect ? *to_expect : (struct vmofs_version){ .exists = true };
		r = http_upload(p, to, &copy->st, err);
		*now = copy->st.now;
	}
	contents_release(&c);
	free(copy);
	if (spool)
		fclose(spool);
	return r;
}

static int copy_urls(const struct http_place *p, const char *from,
		     const struct vmofs_version *expect, const char *to,
		     const struct vmofs_version *to_expect, struct vmofs_version *now,
		     const struct vmofs_change_wait *w, struct vmofs_err *err)
{
	struct http_seen source, target;
	struct http_reply answer;
	int r = check_expected(p, "copy", from, expect, w, &source, err);

	if (r == 0 && !source.exists)
		r = http_explain("copy", from, -ENOENT, 0, "it is not there", err);
	if (r == 0 && to_expect)
		r = check_expected(p, "replace", to, to_expect, w, &target, err);
	if (r < 0)
		return r;
	if (!atomic_load(&p->ways->no_copy)) {
		r = copy_by_server(p, from, expect, to, to_expect, &answer, w, err);
		if (r == 0)
			return http_find_version(p, to, &answer, source.size, w, now, err);
		if (r != -EOPNOTSUPP)
			return r;
		atomic_store(&p->ways->no_copy, true);
	}
	return copy_by_us(p, from, to, to_expect, now, w, err);
}

static int change_copy(struct vmofs_source *s, const char *from, const struct vmofs_version *expect,
		       const char *to, const struct vmofs_version *to_expect,
		       struct vmofs_version *now, const struct vmofs_change_wait *wait,
		       struct vmofs_err *err)
{
	char from_url[URL_MAX], to_url[URL_MAX];
	struct http_place p;
	int r = place_of(s, from, &p, from_url, err);

	if (r == 0)
		r = place_of(s, to, &p, to_url, err);
	return r < 0 ? r : copy_urls(&p, from_url, expect, to_url, to_expect, now, wait, err);
}

/* -- directories and attributes --------------------------------------------------------------- */

/* 405 is said where something is, and by servers that know no directories. */
static int explain_no_dir(const struct http_place *p, const char *url,
			  const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	struct vmofs_err look = VMOFS_ERR_INIT;
	struct http_seen seen;

	if (http_look(p, url, wait, &seen, &look) == 0 && seen.exists)
		return http_explain("make", url, -ESTALE, 0, "something is there", err);
	return err->code;
}

static int change_make_dir(struct vmofs_source *s, const char *key,
			   const struct vmofs_change_attr *attr UNUSED,
			   const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	struct http_place p;
	char url[URL_MAX];
	int r = place_of(s, key, &p, url, err);
	struct http_op *op = r == 0 ? http_op_new("MKCOL") : NULL;

	if (r < 0)
		return r;
	if (!op)
		return no_memory(err);
	memcpy(op->url, url, strlen(url) + 1);
	op->ask.once = true;
	r = run_op(op, &p, "make", wait, err);
	if (r == -EOPNOTSUPP)
		r = explain_no_dir(&p, url, wait, err);
	http_op_free(op);
	return r;
}

static int change_set_attr(struct vmofs_source *s, const char *key,
			   const struct vmofs_version *expect,
			   const struct vmofs_change_attr *attr UNUSED, struct vmofs_version *now,
			   const struct vmofs_change_wait *wait, struct vmofs_err *err)
{
	struct http_seen seen;
	struct http_place p;
	char url[URL_MAX];
	size_t n = strlen(key);
	int r = place_of(s, key, &p, url, err);

	if (r == 0 && n && key[n - 1] == '/')
		r = vmofs_err_set(err, -EOPNOTSUPP, "a web server keeps no attributes");
	if (r == 0)
		r = check_expected(&p, "change", url, expect, wait, &seen, err);
	if (r == 0)
		http_version_of(&seen, now);
	return r;
}

const struct vmofs_change_ops http_change_ops = {
	.store = change_store,
	.attempted = change_attempted,
	.remove = change_remove,
	.copy = change_copy,
	.make_dir = change_make_dir,
	.set_attr = change_set_attr,
};
