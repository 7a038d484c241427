/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of a layer, of any bytes: a builder refuses them, or makes an index that is taken, and the same one each time. An entry: a byte of type, a
 * byte of more, then name and target, each ended by a newline. Two layers of the same entries are merged.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/layer_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const mode_t types[] = { S_IFDIR, S_IFREG, 0, S_IFLNK, S_IFCHR, S_IFIFO, S_IFSOCK, S_IFBLK };

/* Up to a newline, which goes. */
static size_t line(const uint8_t **p, const uint8_t *end, const char **text)
{
	const uint8_t *at = *p, *stop = at == end ? NULL : memchr(at, '\n', (size_t)(end - at));

	*text = (const char *)at;
	*p = stop ? stop + 1 : end;
	return (size_t)((stop ? stop : end) - at);
}

static int add(struct layer_build *b, const uint8_t **p, const uint8_t *end, struct vmofs_err *err)
{
	struct layer_entry e = { .mode = types[**p % ARRAY_LEN(types)] | 0755 };
	struct layer_xattr x = { .name = "user.a", .name_len = 6 };
	uint8_t more;

	++*p;
	more = *p < end ? *(*p)++ : 0;
	if (e.mode == 0755)
		e.mode = 0;
	e.name_len = line(p, end, &e.name);
	e.target_len = line(p, end, &e.target);
	e.size = S_ISREG(e.mode) ? more : 0;
	e.minor = more & 3;
	if (more & 0x80) {
		x.value = e.target;
		x.len = e.target_len;
		e.xattrs = &x;
		e.n_xattrs = 1;
	}
	return layer_build_entry(b, &e, err);
}

static int build(const uint8_t *data, size_t data_len, void **out, size_t *len)
{
	const struct layer_limits limits = { .entries = 10000, .bytes = 1 << 20 };
	const uint8_t *p = data, *end = data + data_len;
	struct layer_id id = { .data_size = 256 };
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct layer_build *b;
	int r = 0;

	assert(layer_build_new(&b, LAYER_LAYOUT_TAR, &limits) == 0);
	while (r == 0 && p < end)
		r = add(b, &p, end, &err);
	if (r == 0)
		r = layer_build_end(b, &id, out, len, &err);
	/* Not what the last check says: whatever is refused, the builder has seen itself. */
	assert(r == 0 || (err.code == r && strncmp(err.msg, "damaged", 7) != 0));
	layer_build_free(b);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	const struct layer_index *layers[2];
	void *a = NULL, *b = NULL, *m = NULL;
	size_t a_len, b_len, m_len;
	struct layer_index x;

	if (!len || build(data, len, &a, &a_len) < 0)
		return 0;
	assert(build(data, len, &b, &b_len) == 0 && a_len == b_len && memcmp(a, b, a_len) == 0);
	assert(layer_index_check(&x, a, a_len, &err) == 0);
	layers[0] = layers[1] = &x;
	assert(layer_merge(layers, 2, &m, &m_len, &err) == 0);
	free(a);
	free(b);
	free(m);
	return 0;
}
