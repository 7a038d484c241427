/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which bytes of a window does what follows it use? A deflate stream's first 32 KiB of output are made twice more, with windows that
 * are not the real one but say of each byte where it was: the byte at i is x(i) in one of them and y(i) in the other, never the
 * same, so a byte of output that differs came from the window, and the two values tell from where. After 32 KiB nothing
 * reaches back to the window. With points 1 MiB apart this costs 6 % of the time of inflate. One thread.
 */
#ifndef IMAGE_INFLATE_PROBE_H
#define IMAGE_INFLATE_PROBE_H

#include "image/gunzip.h"

struct inflate_probe;

struct inflate_probe *inflate_probe_new(void); /* NULL: no memory */
void inflate_probe_free(struct inflate_probe *p);

/* From here on, where @z has stopped before a block; @byte is the last one that it took. */
int inflate_probe_begin(struct inflate_probe *p, z_stream *z, uint8_t byte);
/* Is it at work? */
bool inflate_probe_active(const struct inflate_probe *p);
/* What inflate was given after that. true: it is known now. */
bool inflate_probe_feed(struct inflate_probe *p, const uint8_t *in, size_t n);
/* The window, as far as is known; 0: none is needed. It is not active any more. */
size_t inflate_probe_end(struct inflate_probe *p, const uint8_t **window);

#endif
