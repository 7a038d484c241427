/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: one line a call, to stderr in the foreground and to syslog in the background. Logged
 * once, at the outermost place that still knows the name of the thing. Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_NLEVELS };

void log_set_level(enum log_level level);
/* "error" "warn" "info" "debug", else -EINVAL. */
int log_parse_level(const char *name);
/* From stderr to syslog; once, at daemonisation. */
void log_use_syslog(const char *ident);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
