/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See sink.h. One lock of the core's rank stands for the page source's and the VMO's. Contents lie in
 * a sparse mapping of the object's size, one byte per page says whether it is there.
 */
#include "lib/sink.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/config.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/sync.h"

struct sink_read {
	struct vmofs_list link;    /* outstanding */
	struct vmofs_request *req; /* owned; replaced by sink_narrow() */
	struct sink *sink;
	uint64_t left;     /* pages neither present nor failed */
	uint8_t *failed;   /* per page */
	uint64_t fail_off; /* of the first failed page */
	int code;
	bool cleared;
	bool done;
	void (*cb)(void *arg, int code);
	void *arg;
};

/* What the core calls a VMO. */
struct vmo {
	atomic_uint refs;
	struct mutex lock;
	struct cond changed;
	struct vmofs_provider *provider; /* NULL: detached */
	uint64_t size;
	uint64_t npages;
	uint8_t *bytes;
	uint8_t *present;
	struct vmofs_list reads;
	uint64_t supplied;
	unsigned refuse_in;
	int refuse_code;
	bool distrusted; /* nothing is taken any more */
	bool taken_back; /* and nothing is there */
};

struct sink {
	struct vmofs_config *config; /* NULL: the loops are borrowed */
	struct loop_pool *loops;
	struct vmofs_provider *provider;
	struct vmofs_object_info info;
	struct vmo *vmo;
};

/* -- the answers ------------------------------------------------------------------------------ */

struct vmo *vmofs_vmo_get(struct vmo *v)
{
	assert(atomic_fetch_add(&v->refs, 1) > 0);
	return v;
}

void vmofs_vmo_put(struct vmo *v)
{
	if (atomic_fetch_sub(&v->refs, 1) > 1)
		return;
	if (v->bytes)
		munmap(v->bytes, v->npages * VMOFS_PAGE_SIZE);
	if (v->present)
		munmap(v->present, v->npages);
	cond_destroy(&v->changed);
	mutex_destroy(&v->lock);
	free(v);
}

bool vmofs_is_failure_code(int code)
{
	static const int codes[] = { -EIO,       -EBADMSG, -ESTALE, -EACCES,  -ENOENT,
				     -ETIMEDOUT, -ENOSPC,  -EDQUOT, -ENOBUFS, -ESHUTDOWN };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i] == code)
			return true;
	return false;
}

/* Reads that ended while the lock was held, to be told without it. */
struct ended {
	struct vmofs_list list;
};

static void read_free(struct sink_read *r)
{
	free(r->req);
	free(r->failed);
	free(r);
}

static void read_clear_locked(struct vmo *v, struct sink_read *r) REQUIRES(v->lock)
{
	assert(!r->cleared);
	r->cleared = true;
	v->provider->ops->clear(v->provider, r->req);
	assert(vmofs_list_empty(&r->req->link));
}

static void read_end_locked(struct vmo *v, struct sink_read *r, struct ended *ended)
	REQUIRES(v->lock)
{
	if (!r->cleared)
		read_clear_locked(v, r);
	r->done = true;
	vmofs_list_del(&r->link);
	if (r->cb)
		vmofs_list_add_tail(&ended->list, &r->link);
	cond_broadcast(&v->changed);
}

static void tell(struct ended *ended)
{
	while (!vmofs_list_empty(&ended->list)) {
		struct sink_read *r = vmofs_list_first(&ended->list, struct sink_read, link);

		vmofs_list_del(&r->link);
		r->cb(r->arg, r->code);
		read_free(r);
	}
}

/* The pages of @r that lie in [first, end). */
static bool overlap(const struct sink_read *r, uint64_t *first, uint64_t *end)
{
	uint64_t off = r->req->off / VMOFS_PAGE_SIZE;

	*first = MAX(*first, off);
	*end = MIN(*end, off + r->req->len / VMOFS_PAGE_SIZE);
	return *first < *end;
}

static void page_present_locked(struct vmo *v, uint64_t page) REQUIRES(v->lock)
{
	struct vmofs_list *pos;

	v->present[page] = 1;
	vmofs_list_for_each(pos, &v->reads) {
		struct sink_read *r = vmofs_list_entry(pos, struct sink_read, link);
		uint64_t first = page, end = page + 1;

		if (overlap(r, &first, &end) && !r->failed[page - r->req->off / VMOFS_PAGE_SIZE])
			r->left--;
	}
}

static void end_resolved_locked(struct vmo *v, struct ended *ended) REQUIRES(v->lock)
{
	struct vmofs_list *pos, *tmp;

	vmofs_list_for_each_safe(pos, tmp, &v->reads) {
		struct sink_read *r = vmofs_list_entry(pos, struct sink_read, link);

		if (r->left == 0)
			read_end_locked(v, r, ended);
	}
}

static int range_check_locked(const struct vmo *v, uint64_t off, uint64_t len) REQUIRES(v->lock)
{
	if (!v->provider)
		return -ESHUTDOWN;
	if (off % VMOFS_PAGE_SIZE || len == 0 || (len % VMOFS_PAGE_SIZE && off + len != v->size))
		return -EINVAL;
	return off + len > v->npages * VMOFS_PAGE_SIZE ? -ERANGE : 0;
}

static int refuse_locked(struct vmo *v) REQUIRES(v->lock)
{
	if (!v->refuse_code)
		return 0;
	if (v->refuse_in > 1) {
		v->refuse_in--;
		return 0;
	}
	return v->refuse_code;
}

static int64_t supply_locked(struct vmo *v, uint64_t off, const void *buf, uint64_t len,
			     struct ended *ended) REQUIRES(v->lock)
{
	int r = range_check_locked(v, off, len);
	uint64_t fresh = 0;

	assert(r == 0 || r == -ESHUTDOWN);
	if (r == 0 && v->distrusted)
		r = -EBADMSG;
	if (r == 0)
		r = refuse_locked(v);
	if (r < 0)
		return r;
	for (uint64_t at = 0; at < len; at += VMOFS_PAGE_SIZE) {
		uint64_t n = MIN(len - at, VMOFS_PAGE_SIZE);

		if (v->present[(off + at) / VMOFS_PAGE_SIZE])
			continue;
		memcpy(v->bytes + off + at, (const uint8_t *)buf + at, n);
		page_present_locked(v, (off + at) / VMOFS_PAGE_SIZE);
		fresh += n;
	}
	v->supplied += fresh;
	end_resolved_locked(v, ended);
	return (int64_t)fresh;
}

int64_t vmofs_supply(struct vmo *v, uint64_t off, const void *buf, uint64_t len)
{
	struct ended ended;
	int64_t r;

	vmofs_list_init(&ended.list);
	sync_assert_none_held();
	mutex_lock(&v->lock);
	r = supply_locked(v, off, buf, len, &ended);
	mutex_unlock(&v->lock);
	tell(&ended);
	return r;
}

int64_t vmofs_supply_zero(struct vmo *v, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[65536];
	int64_t total = 0;

	for (uint64_t at = 0; at < len; at += sizeof zeros) {
		int64_t r = vmofs_supply(v, off + at, zeros, MIN(len - at, sizeof zeros));

		if (r < 0)
			return r;
		total += r;
	}
	return total;
}

static void fail_read_locked(struct vmo *v, struct sink_read *r, uint64_t first, uint64_t end,
			     int code) REQUIRES(v->lock)
{
	uint64_t base = r->req->off / VMOFS_PAGE_SIZE;

	if (!overlap(r, &first, &end))
		return;
	for (uint64_t page = first; page < end; page++) {
		if (v->present[page] || r->failed[page - base])
			continue;
		r->failed[page - base] = 1;
		r->left--;
		if (page * VMOFS_PAGE_SIZE < r->fail_off) {
			r->fail_off = page * VMOFS_PAGE_SIZE;
			r->code = code;
		}
	}
}

int vmofs_fail(struct vmo *v, uint64_t off, uint64_t len, int code, unsigned types)
{
	struct vmofs_list *pos;
	struct ended ended;

	assert(vmofs_is_failure_code(code) && types == VMOFS_TYPE_BIT(VMOFS_REQUEST_READ));
	vmofs_list_init(&ended.list);
	sync_assert_none_held();
	mutex_lock(&v->lock);
	if (!v->provider) {
		mutex_unlock(&v->lock);
		return -ESHUTDOWN;
	}
	assert(off % VMOFS_PAGE_SIZE == 0 && len > 0);
	vmofs_list_for_each(pos, &v->reads)
		fail_read_locked(v, vmofs_list_entry(pos, struct sink_read, link),
				 off / VMOFS_PAGE_SIZE,
				 (off + len + VMOFS_PAGE_SIZE - 1) / VMOFS_PAGE_SIZE, code);
	end_resolved_locked(v, &ended);
	mutex_unlock(&v->lock);
	tell(&ended);
	return 0;
}

void vmofs_distrust(struct vmo *v)
{
	sync_assert_none_held();
	mutex_lock(&v->lock);
	v->distrusted = true;
	mutex_unlock(&v->lock);
	vmofs_fail(v, 0, v->size, -EBADMSG, VMOFS_TYPE_BIT(VMOFS_REQUEST_READ));
	mutex_lock(&v->lock);
	/* Not before: reads have counted what is present. */
	memset(v->present, 0, v->npages);
	v->taken_back = true;
	cond_broadcast(&v->changed);
	mutex_unlock(&v->lock);
}

void sink_wait_distrusted(struct sink *s)
{
	struct vmo *v = s->vmo;

	mutex_lock(&v->lock);
	while (!v->taken_back)
		cond_wait(&v->changed, &v->lock);
	mutex_unlock(&v->lock);
}

int vmofs_grant_dirty(struct vmo *v UNUSED, uint64_t off UNUSED, uint64_t len UNUSED)
{
	return -ENOENT;
}

/* -- requests --------------------------------------------------------------------------------- */

static struct vmofs_request *request_new(struct vmo *v, uint64_t off, uint64_t len)
{
	struct vmofs_request *req = calloc(1, sizeof *req);

	assert(req && off % VMOFS_PAGE_SIZE == 0 && len % VMOFS_PAGE_SIZE == 0 && len > 0);
	assert(off + len <= v->npages * VMOFS_PAGE_SIZE);
	req->type = VMOFS_REQUEST_READ;
	req->off = off;
	req->len = len;
	req->vmo = v;
	vmofs_list_init(&req->link);
	return req;
}

static struct sink_read *read_new(struct sink *s, uint64_t off, uint64_t len)
{
	struct sink_read *r = calloc(1, sizeof *r);

	assert(r);
	r->sink = s;
	r->req = request_new(s->vmo, off, len);
	r->left = len / VMOFS_PAGE_SIZE;
	r->failed = calloc(r->left, 1);
	r->fail_off = UINT64_MAX;
	vmofs_list_init(&r->link);
	assert(r->failed);
	return r;
}

static void send_read(struct sink *s, struct sink_read *r)
{
	struct vmo *v = s->vmo;
	uint64_t base = r->req->off / VMOFS_PAGE_SIZE;

	mutex_lock(&v->lock);
	for (uint64_t i = 0; i < r->left; i++)
		assert(!v->present[base + i]);
	vmofs_list_add_tail(&v->reads, &r->link);
	v->provider->ops->send(v->provider, r->req);
	mutex_unlock(&v->lock);
}

struct sink_read *sink_send(struct sink *s, uint64_t off, uint64_t len,
			    enum vmofs_request_class cls, uint64_t deadline_ns)
{
	struct sink_read *r = read_new(s, off, len);

	r->req->cls = cls;
	r->req->deadline_ns = deadline_ns;
	send_read(s, r);
	return r;
}

struct sink_read *sink_send_cb(struct sink *s, uint64_t off, uint64_t len,
			       void (*done)(void *arg, int code), void *arg)
{
	struct sink_read *r = read_new(s, off, len);

	r->cb = done;
	r->arg = arg;
	send_read(s, r);
	return r;
}

bool sink_done(struct sink_read *r)
{
	bool done;

	mutex_lock(&r->sink->vmo->lock);
	done = r->done;
	mutex_unlock(&r->sink->vmo->lock);
	return done;
}

int sink_wait(struct sink_read *r)
{
	struct vmo *v = r->sink->vmo;
	int code;

	mutex_lock(&v->lock);
	while (!r->done)
		cond_wait(&v->changed, &v->lock);
	mutex_unlock(&v->lock);
	code = r->code;
	read_free(r);
	return code;
}

void sink_cancel(struct sink_read *r)
{
	struct vmo *v = r->sink->vmo;
	struct ended ended;

	vmofs_list_init(&ended.list);
	mutex_lock(&v->lock);
	if (!r->done) {
		r->code = -ECANCELED;
		read_end_locked(v, r, &ended);
	}
	mutex_unlock(&v->lock);
	tell(&ended);
}

void sink_promote(struct sink_read *r, uint64_t deadline_ns)
{
	struct vmo *v = r->sink->vmo;

	mutex_lock(&v->lock);
	if (!r->done) {
		r->req->cls = VMOFS_CLASS_DEMAND;
		r->req->deadline_ns = deadline_ns;
		v->provider->ops->swap(v->provider, r->req, r->req);
	}
	mutex_unlock(&v->lock);
}

/* Books of the part: pages of it that are present or failed by now. */
static uint64_t narrow_left_locked(struct vmo *v, const struct sink_read *r, uint64_t first,
				   uint64_t end) REQUIRES(v->lock)
{
	uint64_t base = r->req->off / VMOFS_PAGE_SIZE;
	uint64_t left = 0;

	for (uint64_t page = first; page < end; page++)
		left += !v->present[page] && !r->failed[page - base];
	return left;
}

void sink_narrow(struct sink_read *r, uint64_t off, uint64_t len)
{
	struct vmo *v = r->sink->vmo;
	struct vmofs_request *now = request_new(v, off, len);
	uint64_t first = off / VMOFS_PAGE_SIZE, base = r->req->off / VMOFS_PAGE_SIZE;
	struct ended ended;

	vmofs_list_init(&ended.list);
	mutex_lock(&v->lock);
	if (!r->done) {
		struct vmofs_request *old = r->req;

		now->cls = old->cls;
		now->deadline_ns = old->deadline_ns;
		r->left = narrow_left_locked(v, r, first, first + len / VMOFS_PAGE_SIZE);
		memmove(r->failed, r->failed + (first - base), len / VMOFS_PAGE_SIZE);
		v->provider->ops->swap(v->provider, old, now);
		assert(vmofs_list_empty(&old->link) && !old->priv);
		r->req = now;
		now = old;
		end_resolved_locked(v, &ended);
	}
	mutex_unlock(&v->lock);
	free(now);
	tell(&ended);
}

int sink_read(struct sink *s, uint64_t off, uint64_t len)
{
	return sink_wait(sink_send(s, off, len, VMOFS_CLASS_DEMAND, 0));
}

/* -- life ------------------------------------------------------------------------------------- */

static void *map_anonymous(uint64_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

static struct vmo *vmo_make(struct vmofs_provider *provider, uint64_t size)
{
	struct vmo *v = calloc(1, sizeof *v);

	assert(v);
	v->refs = 1;
	v->provider = provider;
	v->size = size;
	v->npages = (size + VMOFS_PAGE_SIZE - 1) / VMOFS_PAGE_SIZE;
	if (v->npages > 0) {
		v->bytes = map_anonymous(v->npages * VMOFS_PAGE_SIZE);
		v->present = map_anonymous(v->npages);
	}
	mutex_init(&v->lock, LOCK_RANK_VMO);
	cond_init(&v->changed);
	vmofs_list_init(&v->reads);
	return v;
}

static int configure(struct sink *s, const char *opts, struct vmofs_err *err)
{
	for (size_t i = 0; vmofs_providers[i]; i++)
		if (vmofs_providers[i]->options)
			assert(config_add_table(s->config, vmofs_providers[i]->options) == 0);
	return opts ? config_parse_opts(s->config, opts, err) : 0;
}

static int open_provider(struct sink *s, const char *source, struct vmofs_err *err)
{
	const struct vmofs_provider_ops *ops = vmofs_provider_find(source);
	struct vmofs_provider_env env = { .config = s->config, .loops = s->loops };

	if (!ops)
		return vmofs_err_set(err, -EINVAL, "no provider for '%s'", source);
	return ops->open(&s->provider, source, &env, &s->info, err);
}

struct sink *sink_open(const char *source, const char *opts, unsigned nloops, struct vmofs_err *err)
{
	struct sink *s = calloc(1, sizeof *s);
	int r;

	assert(s);
	s->config = config_new();
	s->loops = loop_pool_new(nloops, err);
	assert(s->config && s->loops);
	assert(loop_pool_start(s->loops, err) == 0);
	r = configure(s, opts, err);
	if (r == 0)
		r = open_provider(s, source, err);
	if (r == 0) {
		s->vmo = vmo_make(s->provider, s->info.size);
		return s;
	}
	assert(r == err->code && err->msg[0]);
	loop_pool_free(s->loops);
	config_free(s->config);
	free(s);
	return NULL;
}

struct sink *sink_must_open(const char *source, const char *opts, unsigned nloops)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct sink *s = sink_open(source, opts, nloops, &err);

	if (!s) {
		fprintf(stderr, "sink: %s\n", err.msg);
		abort();
	}
	return s;
}

struct sink *sink_over(struct vmofs_provider *p, uint64_t size, struct loop_pool *loops)
{
	struct sink *s = calloc(1, sizeof *s);

	assert(s);
	s->loops = loops;
	s->provider = p;
	s->info.size = size;
	s->vmo = vmo_make(p, size);
	return s;
}

static void clear_all_locked(struct vmo *v, struct ended *ended) REQUIRES(v->lock)
{
	while (!vmofs_list_empty(&v->reads)) {
		struct sink_read *r = vmofs_list_first(&v->reads, struct sink_read, link);

		r->code = -ESHUTDOWN;
		read_end_locked(v, r, ended);
	}
}

void sink_close(struct sink *s)
{
	struct vmo *v = s->vmo;
	struct ended ended;

	vmofs_list_init(&ended.list);
	mutex_lock(&v->lock);
	clear_all_locked(v, &ended);
	s->provider->ops->on_detach(s->provider);
	s->provider->ops->on_close(s->provider);
	v->provider = NULL;
	mutex_unlock(&v->lock);
	tell(&ended);
	s->provider->ops->free(s->provider);
	if (s->config) {
		loop_pool_stop(s->loops);
		loop_pool_free(s->loops);
	} else {
		sink_settle(s);
	}
	assert(atomic_load(&v->refs) == 1);
	vmofs_vmo_put(v);
	if (s->config)
		config_free(s->config);
	free(s);
}

/* -- looking ---------------------------------------------------------------------------------- */

const struct vmofs_object_info *sink_info(const struct sink *s)
{
	return &s->info;
}

struct vmofs_provider *sink_provider(struct sink *s)
{
	return s->provider;
}

struct loop_pool *sink_loops(struct sink *s)
{
	return s->loops;
}

static void nothing(void *arg UNUSED, struct loop *l UNUSED)
{
}

void sink_settle(struct sink *s)
{
	for (unsigned i = 0; i < loop_pool_size(s->loops); i++)
		loop_call(loop_pool_nth(s->loops, i), nothing, NULL);
}

void sink_stats(struct sink *s, struct vmofs_provider_stats *out)
{
	sink_settle(s);
	s->provider->ops->stats(s->provider, out);
}

void sink_evict(struct sink *s, uint64_t off, uint64_t len)
{
	mutex_lock(&s->vmo->lock);
	memset(s->vmo->present + off / VMOFS_PAGE_SIZE, 0, len / VMOFS_PAGE_SIZE);
	memset(s->vmo->bytes + off, 0, len);
	mutex_unlock(&s->vmo->lock);
}

void sink_refuse(struct sink *s, unsigned n, int code)
{
	mutex_lock(&s->vmo->lock);
	s->vmo->refuse_in = n;
	s->vmo->refuse_code = code;
	mutex_unlock(&s->vmo->lock);
}

const uint8_t *sink_bytes(const struct sink *s)
{
	return s->vmo->bytes;
}

bool sink_present(struct sink *s, uint64_t off)
{
	bool present;

	mutex_lock(&s->vmo->lock);
	present = s->vmo->present[off / VMOFS_PAGE_SIZE];
	mutex_unlock(&s->vmo->lock);
	return present;
}

uint64_t sink_supplied(struct sink *s)
{
	uint64_t n;

	mutex_lock(&s->vmo->lock);
	n = s->vmo->supplied;
	mutex_unlock(&s->vmo->lock);
	return n;
}
