/* SPDX-License-Identifier: Apache-2.0 */
/* Puts a server, options, loops and an origin together, and takes them apart in the other order. */
#include "lib/http_bed.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/loop.h"
#include "base/macros.h"
#include "http/http_origin.h"
#include "lib/httpd.h"

static struct vmofs_config *options(const char *opts)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct vmofs_config *c = config_new();
	int r = 0;

	for (size_t i = 0; vmofs_providers[i]; i++)
		if (vmofs_providers[i]->options)
			config_add_table(c, vmofs_providers[i]->options);
	if (opts)
		r = config_parse_opts(c, opts, &err);
	assert(r == 0);
	return c;
}

struct http_bed *http_bed_new_still(uint64_t size, const char *opts, unsigned nloops)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct http_bed *b = calloc(1, sizeof *b);
	struct vmofs_provider_env env;
	struct http_origin_params params = { .env = &env };
	int r;

	assert(b);
	b->httpd = httpd_new(size, NULL);
	b->config = options(opts);
	b->loops = loop_pool_new(nloops, &err);
	assert(b->loops);
	env = (struct vmofs_provider_env){ .config = b->config, .loops = b->loops };
	params.url = httpd_url(b->httpd, "/");
	r = http_origin_new(&b->origin, &params, &err);
	assert(r == 0);
	return b;
}

struct http_bed *http_bed_new(uint64_t size, const char *opts, unsigned nloops)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	struct http_bed *b = http_bed_new_still(size, opts, nloops);
	int r = loop_pool_start(b->loops, &err);

	assert(r == 0);
	return b;
}

void http_bed_free(struct http_bed *b)
{
	http_origin_put(b->origin);
	loop_pool_stop(b->loops);
	loop_pool_free(b->loops);
	config_free(b->config);
	httpd_free(b->httpd);
	free(b);
}

bool http_bed_dump_has(struct http_bed *b, const char *what)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	bool has;

	assert(f);
	http_origin_dump(b->origin, f, 0);
	fclose(f);
	has = strstr(text, what) != NULL;
	if (!has)
		fprintf(stderr, "%s", text);
	free(text);
	return has;
}

static void nothing(void *arg UNUSED, struct loop *l UNUSED)
{
}

void http_bed_settle(struct http_bed *b)
{
	for (unsigned i = 0; i < loop_pool_size(b->loops); i++)
		loop_call(loop_pool_nth(b->loops, i), nothing, NULL);
}
