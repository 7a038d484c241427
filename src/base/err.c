/* SPDX-License-Identifier: Apache-2.0 */
/* The error object of set-up paths: formatting only, no allocation, any thread. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <vmofs/err.h>

int vmofs_err_set(struct vmofs_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code < 0);
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	return code;
}

int vmofs_err_prefix(struct vmofs_err *err, const char *fmt, ...)
{
	char tail[sizeof err->msg];
	size_t n;
	va_list ap;

	memcpy(tail, err->msg, sizeof tail);
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof err->msg - n, ": %s", tail);
	return err->code;
}
