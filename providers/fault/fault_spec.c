/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of fault lists; see fault_spec.h. Pure, any thread. */
#include "fault/fault_spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/macros.h"

static const struct {
	const char *name;
	int code;
} codes[] = {
	{ "EIO", -EIO },       { "EBADMSG", -EBADMSG }, { "ESTALE", -ESTALE },
	{ "EACCES", -EACCES }, { "ENOENT", -ENOENT },   { "ETIMEDOUT", -ETIMEDOUT },
	{ "ENOSPC", -ENOSPC }, { "EDQUOT", -EDQUOT },   { "ENOBUFS", -ENOBUFS },
};

/* A number of at most nine digits and nothing behind it. */
static int parse_number(const char *text, uint64_t *out)
{
	size_t len = strspn(text, "0123456789");

	if (len == 0 || len > 9 || text[len])
		return -EINVAL;
	*out = strtoull(text, NULL, 10);
	return 0;
}

static int parse_code(const char *text, struct fault_rule *rule)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (strcmp(codes[i].name, text) != 0)
			continue;
		rule->code = codes[i].code;
		return 0;
	}
	return -EINVAL;
}

static int parse_when(char *text, struct fault_rule *rule)
{
	size_t len = strlen(text);

	if (text[0] == '/')
		return parse_number(text + 1, &rule->every) < 0 || !rule->every ? -EINVAL : 0;
	if (len > 1 && text[len - 1] == '%') {
		text[len - 1] = '\0';
		return parse_number(text, &rule->percent) < 0 || rule->percent > 100 ? -EINVAL : 0;
	}
	return parse_number(text, &rule->nth) < 0 || !rule->nth ? -EINVAL : 0;
}

/* @arg NULL: there was no equals sign. */
static int parse_action(const char *name, const char *arg, struct fault_rule *rule)
{
	if (strcmp(name, "drop") == 0 && !arg) {
		rule->action = FAULT_DROP;
		return 0;
	}
	if (!arg)
		return -EINVAL;
	if (strcmp(name, "fail") == 0) {
		rule->action = FAULT_FAIL;
		return parse_code(arg, rule);
	}
	if (strcmp(name, "delay") == 0) {
		rule->action = FAULT_DELAY;
		return config_parse_time(arg, &rule->delay_ns);
	}
	if (strcmp(name, "reverse") == 0) {
		rule->action = FAULT_REVERSE;
		return parse_number(arg, &rule->group) < 0 || !rule->group ? -EINVAL : 0;
	}
	return -EINVAL;
}

static int parse_rule(struct fault_spec *spec, char *text)
{
	struct fault_rule rule = { .percent = 100 };
	char *when = strchr(text, '@');
	char *arg;

	if (when)
		*when++ = '\0';
	arg = strchr(text, '=');
	if (arg)
		*arg++ = '\0';
	if (strcmp(text, "seed") == 0)
		return arg && !when ? parse_number(arg, &spec->seed) : -EINVAL;
	if (spec->n == FAULT_RULES || parse_action(text, arg, &rule) < 0 ||
	    (when && parse_when(when, &rule) < 0))
		return -EINVAL;
	spec->rules[spec->n++] = rule;
	return 0;
}

int fault_spec_parse(struct fault_spec *spec, const char *text, size_t len)
{
	char copy[512];
	char *save = NULL;

	*spec = (struct fault_spec){ .seed = 1 };
	if (len >= sizeof copy || memchr(text, '\0', len))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	for (char *rule = strtok_r(copy, ",", &save); rule; rule = strtok_r(NULL, ",", &save))
		if (parse_rule(spec, rule) < 0)
			return -EINVAL;
	return 0;
}

uint64_t fault_spec_group(const struct fault_spec *spec)
{
	for (unsigned i = 0; i < spec->n; i++)
		if (spec->rules[i].action == FAULT_REVERSE)
			return spec->rules[i].group;
	return 0;
}
