/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error object of set-up paths (configuration, mount, provider open, commands): a code and one
 * sentence for a person. The data path returns -errno alone.
 */
#ifndef VMOFS_ERR_H
#define VMOFS_ERR_H

#include <stdarg.h>

/* A fixed-size value on the caller's stack: nobody frees it. */
struct vmofs_err {
	int code;       /* -errno, 0 when nothing failed */
	char msg[1024]; /* lower case, no stop, cause first, the subject in single quotes */
};

#define VMOFS_ERR_INIT \
	{              \
		0      \
	}

/* Fills @err and returns @code, so that a caller can write `return vmofs_err_set(...)`. */
int vmofs_err_set(struct vmofs_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the message that is there; returns err->code. */
int vmofs_err_prefix(struct vmofs_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
