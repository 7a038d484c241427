/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUSE_IOCTL: hints on open files, see <vmofs/ioctl.h>. The kernel copies the range in and out by what the number says of it.
 * Nothing here waits. Runs on the loops.
 */
#include <errno.h>
#include <string.h>
#include <vmofs/ioctl.h>

#include "base/macros.h"
#include "fs/object.h"
#include "fs/session_private.h"

/* Clipped to the file; 0 or -errno. */
static int range_of(const struct fs_object *o, const void *in, size_t n,
		    struct vmofs_ioctl_range *out)
{
	uint64_t size = vmo_size(o->vmo);

	if (n != sizeof *out)
		return -EINVAL;
	memcpy(out, in, sizeof *out);
	if (out->off + out->len < out->off)
		return -EINVAL;
	if (out->off > size)
		out->off = size;
	if (!out->len || out->len > size - out->off)
		out->len = size - out->off;
	return 0;
}

static void prefetch(fuse_req_t req, struct fs_object *o, struct vmofs_ioctl_range *r,
		     uint64_t deadline_ns)
{
	uint64_t end = r->off;
	uint64_t fresh;

	r->len = MIN(r->len, VMOFS_IOC_PREFETCH_MAX);
	if (r->len)
		end = vmo_prefetch_to(o->vmo, r->off, r->len, deadline_ns, &fresh);
	r->len = MIN(MAX(end, r->off) - r->off, r->len);
	fuse_reply_ioctl(req, 0, r, sizeof *r);
}

static void drop(fuse_req_t req, struct fs_object *o, const struct vmofs_ioctl_range *r)
{
	if (r->len)
		vmo_evict(o->vmo, r->off, r->len, false);
	fuse_reply_ioctl(req, 0, NULL, 0);
}

void fs_ioctl(fuse_req_t req, struct fs_object *o, unsigned cmd, const void *in, size_t n_in)
{
	struct fs_session *s = fs_session_of(req);
	uint64_t deadline_ns = s->p.timeout_ns ? loop_now_ns() + s->p.timeout_ns : 0;
	struct vmofs_ioctl_range r;
	int status = -ENOTTY;

	if (cmd == VMOFS_IOC_PREFETCH || cmd == VMOFS_IOC_DONTNEED)
		status = range_of(o, in, n_in, &r);
	if (status < 0) {
		fuse_reply_err(req, -status);
		return;
	}
	if (!fs_ring_begin(s, req))
		return;
	if (cmd == VMOFS_IOC_PREFETCH)
		prefetch(req, o, &r, deadline_ns);
	else
		drop(req, o, &r);
	fs_ring_end(s);
}
