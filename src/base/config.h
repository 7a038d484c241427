/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of one mount: a set of `name=value` pairs checked against tables of options
 * (the program's own and each provider's). Sources in rising order of strength: defaults in the
 * tables, configuration files, -o on the command line. An unknown name is an error with a
 * suggestion. Immutable once parsed, so it needs no lock.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <vmofs/err.h>
#include <vmofs/provider.h>

struct vmofs_config;

struct vmofs_config *config_new(void);
void config_free(struct vmofs_config *c);

/* Makes the names in @table known (borrowed for the life of @c). */
int config_add_table(struct vmofs_config *c, const struct vmofs_option *table);

/* One pair; @value NULL is "yes" for a switch. -EINVAL with a suggestion for an unknown name. */
int config_set(struct vmofs_config *c, const char *name, const char *value, struct vmofs_err *err);

/* "a=1,b,c=x\,y": a comma or backslash in a value is written with a backslash before it. */
int config_parse_opts(struct vmofs_config *c, const char *opts, struct vmofs_err *err);

/*
 * An INI file: `name = value` lines under [mount], or under [mount "PREFIX"], which counts only
 * where @source begins with PREFIX. Errors name file, line and the nearest known key.
 */
int config_parse_file(struct vmofs_config *c, const char *path, const char *source,
		      struct vmofs_err *err);

/* The value, else the table's default, else NULL. Asking for a name in no table is a bug (assert). */
const char *config_str(const struct vmofs_config *c, const char *name);
bool config_is_set(const struct vmofs_config *c, const char *name); /* given, not defaulted */
bool config_bool(const struct vmofs_config *c, const char *name);
/* Of two switches that say the opposite: whether @name is on, and @opposite has not been switched on after it. */
bool config_bool_unless(const struct vmofs_config *c, const char *name, const char *opposite);

/* 64M, 1.5G, 4096, 10% is not known here: -EINVAL with @err naming the option. */
int config_size(const struct vmofs_config *c, const char *name, uint64_t *out,
		struct vmofs_err *err);
/* 250ms, 30s, 5m, 1h; a bare number is seconds. Result in nanoseconds. */
int config_time(const struct vmofs_config *c, const char *name, uint64_t *out_ns,
		struct vmofs_err *err);
int config_u64(const struct vmofs_config *c, const char *name, uint64_t *out,
	       struct vmofs_err *err);

/* The index of the value in @words, which ends with NULL; -EINVAL: it is none of them. The option has a default. */
int config_choice(const struct vmofs_config *c, const char *name, const char *const *words,
		  struct vmofs_err *err);

/* Calls @fn for every value of a name that may be given more than once (custom headers). */
void config_each(const struct vmofs_config *c, const char *name,
		 void (*fn)(void *arg, const char *value), void *arg);

/* Calls @fn for every known option with its effective value (NULL: unset). */
void config_list(const struct vmofs_config *c,
		 void (*fn)(void *arg, const struct vmofs_option *opt, const char *value),
		 void *arg);

/* The text parsers behind the above; pure functions, 0 or -EINVAL. */
int config_parse_size(const char *text, uint64_t *out);
int config_parse_time(const char *text, uint64_t *out_ns);

#endif
