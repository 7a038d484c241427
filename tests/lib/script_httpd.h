/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP server on the loopback that answers by a script: each rule says what a request begins with, and what
 * is answered, so many times. All requests are kept as text. One thread, a connection for each request.
 */
#ifndef TESTS_LIB_SCRIPT_HTTPD_H
#define TESTS_LIB_SCRIPT_HTTPD_H

#include <stdbool.h>

struct script_httpd;

/* Ends the test when it cannot start. */
struct script_httpd *script_httpd_new(void);
void script_httpd_free(struct script_httpd *h);
/* "http://127.0.0.1:PORT", valid as long as the server. */
const char *script_httpd_url(const struct script_httpd *h);

/*
 * For the next @times requests (-1: all) whose text begins with @match ("PUT /latest/api"): @status,
 * @headers (lines with "\r\n", may be "") and @body, copied. The first rule that fits and is not used up
 * counts; where there is none the answer is 404. @status 0: the connection is closed instead of an answer.
 */
void script_httpd_say(struct script_httpd *h, int times, const char *match, int status,
		      const char *headers, const char *body);

unsigned script_httpd_requests(struct script_httpd *h);
/* The text of the @i-th request with the beginning of its body; "" when there were not that many. */
const char *script_httpd_request(struct script_httpd *h, unsigned i);
/* Answers nothing until the gate is opened. */
void script_httpd_gate(struct script_httpd *h, bool closed);
/* It closes by itself when the @nth request from now on has come; 0: it does not. */
void script_httpd_gate_at(struct script_httpd *h, unsigned nth);

#endif
