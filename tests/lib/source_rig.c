/* SPDX-License-Identifier: Apache-2.0 */
/* A page source without a VMO; see the header. */
#include "lib/source_rig.h"

#include "vm/page.h"

struct source_rig source_rig_new(unsigned types, uint64_t max_pages)
{
	struct page_source_properties props = { .is_user_pager = true,
						.max_request_pages = max_pages };
	struct source_rig r = { .f = fake_new(types, 1) };

	for (enum vmofs_request_type t = 0; t < VMOFS_REQUEST_NTYPES; t++)
		props.supports_request_type[t] =
			t == VMOFS_REQUEST_READ || types & VMOFS_TYPE_BIT(t);
	if (page_source_new(&r.s, fake_base(r.f), NULL, &props, NULL) < 0)
		test_die("there is no page source");
	return r;
}

void source_rig_release(struct source_rig *r)
{
	page_source_close(r->s);
	if (n_parked(r->s))
		test_die("%u waiters are parked on a closed page source", n_parked(r->s));
	page_source_free(r->s);
	fake_free(r->f);
}

int get_pages(struct source_rig *r, uint64_t page, uint64_t n, struct page_waiter *w)
{
	return page_source_get_pages(r->s, page_bytes(page), page_bytes(n), w);
}

int get_dirty(struct source_rig *r, uint64_t page, uint64_t n, struct page_waiter *w)
{
	return page_source_request_dirty_transition(r->s, page_bytes(page), page_bytes(n), w);
}

void supplied(struct source_rig *r, uint64_t page, uint64_t n)
{
	page_source_on_pages_supplied(r->s, page_bytes(page), page_bytes(n));
}

void failed(struct source_rig *r, uint64_t page, uint64_t n, int code)
{
	page_source_on_pages_failed(r->s, page_bytes(page), page_bytes(n), code,
				    VMOFS_TYPE_BIT(VMOFS_REQUEST_READ) |
					    VMOFS_TYPE_BIT(VMOFS_REQUEST_DIRTY));
}

unsigned n_parked(struct page_source *s)
{
	unsigned n = 0;

	for (enum vmofs_request_type t = 0; t < VMOFS_REQUEST_NTYPES; t++)
		n += page_source_n_waiters(s, t);
	return n;
}
