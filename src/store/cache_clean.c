/* SPDX-License-Identifier: Apache-2.0 */
/* Room made in a cache directory. */
#include "store/cache_private.h"

uint64_t cache_high(const struct cache *c)
{
	return c->limit - c->limit / 32;
}

bool cache_make_room(struct cache *c)
{
	cache_kick(c);
	return false;
}
