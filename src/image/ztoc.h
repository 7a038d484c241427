/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SOCI's table of a layer ("ztoc"): files by their place in the tar, and places of the gzip stream where inflate can begin.
 * A pure function on bytes from outside.
 *
 *   zinfo v1   the first checkpoint is not stored; it stands for byte 10, where most gzip headers end. It becomes a span
 *              from byte 0 with the header, and has no digest, for SOCI's is of the bytes from 10 on.
 *   zinfo v2   all of them are stored
 *   TarZinfo   the layer is not compressed: stretches of equal length, as they are
 */
#ifndef IMAGE_ZTOC_H
#define IMAGE_ZTOC_H

#include "image/layer_build.h"

#define ZTOC_MAX (UINT64_C(1) << 30)

struct ztoc_options {
	const uint8_t *digest; /* of the table, as the SOCI index says; NULL: it is not known */
	uint64_t blob_size;    /* of the layer */
};

struct ztoc_facts {
	uint64_t entries;
	uint64_t spans;
	uint64_t data_size;      /* of the tar: layer_id.data_size for layer_build_end() */
	bool proved;             /* a digest was given, and right */
	bool spans_have_digests; /* all, of the compressed bytes: LAYER_DIGEST_BLOB */
};

/*
 * Reads the table [p, p + len) into @b (LAYOUT_TAR). The digest is compared first. -EBADMSG, -E2BIG, -ENOMEM with @err, and
 * -ENOTSUP for what SOCI's tables cannot say (sparse files); @b has to be freed then.
 */
int ztoc_read(struct layer_build *b, const struct ztoc_options *options, const void *p, size_t len,
	      struct ztoc_facts *facts, struct vmofs_err *err);

#endif
