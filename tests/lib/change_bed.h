/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bucket "b" to change, at a server that answers by a script. What is not as it should be fails the test (cmocka); the teardown
 * also wants that no upload is left in the record.
 */
#ifndef TESTS_LIB_CHANGE_BED_H
#define TESTS_LIB_CHANGE_BED_H

#include <stdbool.h>

#include "lib/script_httpd.h"

#define ATTEMPT "0123456789abcdef0123456789abcdef"
#define OURS    "x-amz-meta-vmofs-attempt: " ATTEMPT "\r\n"
#define ERR(c)  "<Error><Code>" c "</Code><Message>so it is</Message></Error>"

struct change_bed {
	struct script_httpd *h;
	struct vmofs_config *config;
	struct loop_pool *loops;
	struct vmofs_source *s;
	unsigned at; /* requests that were looked at */
	char dir[64];
};

/* Nothing is asked of access control lists. */
int change_bed_set_up(void **state);
/* With these options. */
int change_bed_set_up_with(void **state, const char *more);
int change_bed_tear_down(void **state);

/* As script_httpd_say(). */
void say(struct change_bed *b, int times, const char *match, int status, const char *headers,
	 const char *body);
/* HEAD of "f": three bytes. */
void say_head(struct change_bed *b, int times, const char *tag, const char *more);

/* The next request begins so, and has this line (NULL: any). */
void asked(struct change_bed *b, const char *begin, const char *line);
void asked_without(struct change_bed *b, const char *begin, const char *line);
void asked_no_more(struct change_bed *b);
bool was_asked(struct change_bed *b, const char *begin);
/* The @nth request that begins so. */
const char *text_of(struct change_bed *b, const char *begin, unsigned nth);

#endif
