/* SPDX-License-Identifier: Apache-2.0 */
/* One line a call, written with a single write so that threads do not mix. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/macros.h"

static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", LOG_ERR },
	[LOG_LEVEL_WARN] = { "warn", LOG_WARNING },
	[LOG_LEVEL_INFO] = { "info", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};
_Static_assert(ARRAY_LEN(levels) == LOG_NLEVELS, "one row per level");

static _Atomic int max_level = LOG_LEVEL_INFO;
static _Atomic bool to_syslog;

void log_set_level(enum log_level level)
{
	max_level = (int)level;
}

int log_parse_level(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(levels); i++)
		if (!strcmp(levels[i].name, name))
			return (int)i;
	return -EINVAL;
}

void log_use_syslog(const char *ident)
{
	openlog(ident, LOG_PID, LOG_DAEMON);
	to_syslog = true;
}

static void log_stderr(enum log_level level, const char *msg)
{
	char line[2048];
	int n = snprintf(line, sizeof line, "vmofs: %s: %s\n", levels[level].name, msg);

	if (n >= (int)sizeof line) {
		n = (int)sizeof line;
		line[n - 1] = '\n';
	}
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nowhere is left to say so */
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char msg[1900];
	va_list ap;

	if ((int)level > max_level)
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	if (to_syslog)
		syslog(levels[level].priority, "%s", msg);
	else
		log_stderr(level, msg);
}
