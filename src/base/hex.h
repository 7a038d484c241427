/* SPDX-License-Identifier: Apache-2.0 */
/* A hexadecimal digit of either case. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

/* Its value; -1: it is none. */
static inline int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
