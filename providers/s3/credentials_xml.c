/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of STS by expat, which is given secret memory to work in: neither its buffers nor the texts of
 * elements are anywhere else. A document type is refused, so there are no entities to expand. Any thread.
 */
#include <errno.h>
#include <expat.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/secret.h"
#include "s3/credentials_parse.h"

enum { TEXT_MAX = 32 << 10 };

struct reader {
	XML_Parser parser;
	struct s3_sts_answer *out;
	char **field; /* of the element that is open, NULL: not one of ours */
	char *text;   /* secret memory, of that element so far */
	size_t len;
	int error;
};

static char **field_of(struct s3_sts_answer *a, const char *name)
{
	const struct {
		const char *name;
		char **field;
	} fields[] = {
		{ "AccessKeyId", &a->access_key },
		{ "SecretAccessKey", &a->secret_key },
		{ "SessionToken", &a->token },
		{ "Expiration", &a->expires },
		{ "Code", &a->code },
		{ "Message", &a->message },
	};

	for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
		if (!strcmp(name, fields[i].name))
			return fields[i].field;
	return NULL;
}

static void stop(struct reader *r, int error)
{
	r->error = error;
	XML_StopParser(r->parser, XML_FALSE);
}

static void on_start(void *arg, const char *name, const char **attributes UNUSED)
{
	struct reader *r = arg;

	r->field = field_of(r->out, name);
	secret_free(r->text);
	r->text = NULL;
	r->len = 0;
}

static void on_text(void *arg, const char *p, int n)
{
	struct reader *r = arg;
	char *grown;

	if (!r->field)
		return;
	if (r->len + (size_t)n > TEXT_MAX) {
		stop(r, -EINVAL);
		return;
	}
	grown = secret_realloc(r->text, r->len + (size_t)n + 1);
	if (!grown) {
		stop(r, -ENOMEM);
		return;
	}
	memcpy(grown + r->len, p, (size_t)n);
	r->text = grown;
	r->len += (size_t)n;
	r->text[r->len] = '\0';
}

static void on_end(void *arg, const char *name)
{
	struct reader *r = arg;

	if (!r->field || r->field != field_of(r->out, name))
		return;
	secret_free(*r->field);
	*r->field = steal_ptr(&r->text);
	r->field = NULL;
}

static void on_doctype(void *arg, const char *name UNUSED, const char *sysid UNUSED,
		       const char *pubid UNUSED, int internal UNUSED)
{
	stop(arg, -EINVAL);
}

int s3_sts_parse(const char *p, size_t n, struct s3_sts_answer *out)
{
	static const XML_Memory_Handling_Suite memory = { secret_alloc, secret_realloc,
							  secret_free };
	struct reader r = { .out = out };

	memset(out, 0, sizeof *out);
	r.parser = XML_ParserCreate_MM("UTF-8", &memory, NULL);
	if (!r.parser)
		return -ENOMEM;
	XML_SetUserData(r.parser, &r);
	XML_SetElementHandler(r.parser, on_start, on_end);
	XML_SetCharacterDataHandler(r.parser, on_text);
	XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
	if (XML_Parse(r.parser, p, (int)n, 1) != XML_STATUS_OK && r.error == 0)
		r.error = XML_GetErrorCode(r.parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EINVAL;
	XML_ParserFree(r.parser);
	secret_free(r.text);
	return r.error;
}

void s3_sts_release(struct s3_sts_answer *a)
{
	secret_free(a->access_key);
	secret_free(a->secret_key);
	secret_free(a->token);
	secret_free(a->expires);
	secret_free(a->code);
	secret_free(a->message);
	memset(a, 0, sizeof *a);
}
