/* SPDX-License-Identifier: Apache-2.0 */
/* Options and configuration files of any bytes: what is accepted can be read back. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct vmofs_option table[] = {
	{ "memory", "SIZE", "64M", "memory" },  { "timeout", "TIME", "60s", "deadline" },
	{ "threads", "N", NULL, "threads" },    { "allow-other", NULL, NULL, "others may read" },
	{ "header", "TEXT", NULL, "a header" }, { 0 },
};

static void check(const struct vmofs_config *c)
{
	struct vmofs_err err = VMOFS_ERR_INIT;
	uint64_t n;

	assert(config_size(c, "memory", &n, &err) == 0);
	assert(config_time(c, "timeout", &n, &err) == 0);
	assert(config_u64(c, "threads", &n, &err) == 0);
	(void)config_bool(c, "allow-other");
	(void)config_str(c, "header");
}

static void as_options(const uint8_t *data, size_t len)
{
	struct vmofs_config *c = config_new();
	struct vmofs_err err = VMOFS_ERR_INIT;
	char *text = malloc(len + 1);

	memcpy(text, data, len);
	text[len] = '\0';
	config_add_table(c, table);
	(void)config_parse_opts(c, text, &err);
	check(c);
	config_free(c);
	free(text);
}

static void as_file(const uint8_t *data, size_t len)
{
	struct vmofs_config *c = config_new();
	struct vmofs_err err = VMOFS_ERR_INIT;
	int fd = memfd_create("config", MFD_CLOEXEC);
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (write(fd, data, len) != (ssize_t)len)
		abort();
	config_add_table(c, table);
	if (config_parse_file(c, path, "https://a.example/x", &err) < 0)
		assert(err.code < 0 && err.msg[0]);
	check(c);
	config_free(c);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	as_options(data, len);
	as_file(data, len);
	return 0;
}
