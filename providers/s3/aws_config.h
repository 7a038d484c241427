/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared configuration files of the AWS tools: sections of `key = value`, some with nested settings,
 * some with values over several lines. Pure functions on (pointer, length); what they give are views of
 * the text. Any thread.
 *
 *   [default]  [profile NAME]       a profile; in the credentials file [NAME]
 *   [sso-session NAME]  [services NAME]
 *   # and ; begin comments of whole lines. Keys are of any case, section names are not.
 */
#ifndef PROVIDERS_S3_AWS_CONFIG_H
#define PROVIDERS_S3_AWS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

struct aws_span {
	const char *p; /* not terminated; NULL: none */
	size_t n;
};

enum aws_section {
	AWS_SECTION_PROFILE,
	AWS_SECTION_SSO_SESSION,
	AWS_SECTION_SERVICES,
	AWS_SECTION_OTHER,
	AWS_NSECTIONS
};

struct aws_config {
	const char *p;
	size_t len;
	bool credentials; /* the other file: a bare name in brackets is a profile */
};

struct aws_item {
	enum aws_section kind;
	struct aws_span section;
	struct aws_span parent; /* the key that this one is nested under; n 0: none */
	struct aws_span key;    /* n 0: the section begins */
	struct aws_span value;  /* with the line ends of one over several lines */
};

/*
 * Calls @fn for each section and each setting, in order. Returns 0, or the number of the first line that is
 * neither (what follows is still read).
 */
unsigned aws_config_each(const struct aws_config *c,
			 void (*fn)(void *arg, const struct aws_item *item), void *arg);

bool aws_config_has(const struct aws_config *c, enum aws_section kind, const char *section);
/* The last of several; @parent NULL: not nested. False: not there, or empty. */
bool aws_config_get(const struct aws_config *c, enum aws_section kind, const char *section,
		    const char *parent, const char *key, struct aws_span *out);

#endif
