/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and names as commands print them. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

enum { TEXT_BYTES_MAX = 32 };

/* "12.3 MiB" into @out, which is returned. */
const char *text_bytes(double n, char out[TEXT_BYTES_MAX]);
/* A name on standard output; on a terminal, what would confuse it is shown as "?". */
void text_print_name(const char *name);
/* JSON has no bytes that are not UTF-8: in their place stands "?". */
json_t *text_json(const char *text);
/* One object a line. */
void text_print_json(const json_t *o);

#endif
