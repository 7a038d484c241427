/* SPDX-License-Identifier: Apache-2.0 */
/* The housekeeping thread of a cache directory. */
#include "store/cache_private.h"

void cache_kick(struct cache *c)
{
	mutex_lock(&c->lock);
	c->kicked = true;
	cond_signal(&c->wake);
	mutex_unlock(&c->lock);
}
