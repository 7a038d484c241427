/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of the S3 provider, and where a bucket is by them, the environment and the profile, in
 * this order of strength. Set-up path of one thread.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/macros.h"
#include "base/secret.h"
#include "s3/s3_private.h"

#define SSE_KEY_LEN 32

const struct vmofs_option s3_options[] = {
	{ "endpoint", "URL", NULL,
	  "S3 server (default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's, AWS)" },
	{ "region", "NAME", NULL, "region (default: AWS_REGION, the profile's, found by itself)" },
	{ "addressing", "auto|path|virtual", "auto", "bucket in the path or in the host name" },
	{ "dual-stack", NULL, "no", "the endpoints of AWS that have IPv6 addresses too" },
	{ "requester-pays", NULL, "no", "agree to pay for the requests" },
	{ "sse-c-key-file", "FILE", NULL,
	  "key of objects encrypted with SSE-C: 32 bytes, or base64 of them" },
	{ "list-page", "N", "1000", "most keys that one listing request asks for" },
	{ "list-parallel", "N", "16", "most requests that list one directory at the same time" },
	{ "upload-part", "SIZE", "8M", "usual part of a multipart upload (5M at least)" },
	{ "upload-parallel", "N", "4", "parts of one object that are under way at the same time" },
	{ "acl", "keep|ignore|require", "keep",
	  "access control lists of objects that are replaced, copied or renamed" },
	{ "small-parts", "assemble|fetch", "assemble",
	  "how a change smaller than a part is stored: joined by the server, or with bytes around it" },
	S3_CREDENTIAL_OPTIONS,
	{ NULL, NULL, NULL, NULL },
};

/* -- the source ------------------------------------------------------------------------------- */

static bool bucket_valid(const char *b, size_t n)
{
	if (n < 1 || n > 255)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)b[i]) && !strchr("._-", b[i]))
			return false;
	return true;
}

int s3_options_source(struct s3_options *o, const char *source, struct vmofs_err *err)
{
	const char *bucket = source + strlen("s3://");
	size_t n, len;
	const char *key;

	if (strncasecmp(source, "s3://", 5) != 0)
		return vmofs_err_set(err, -EINVAL, "'%s' is not of the form s3://BUCKET[/PREFIX]",
				     source);
	n = strcspn(bucket, "/");
	if (!bucket_valid(bucket, n))
		return vmofs_err_set(
			err, -EINVAL,
			"'%s' has no valid bucket name: letters, digits, '.', '-' and '_'", source);
	memcpy(o->bucket, bucket, n);
	o->bucket[n] = '\0';
	key = bucket[n] ? bucket + n + 1 : "";
	len = strlen(key);
	if (len + 2 > sizeof o->prefix || len > 1024)
		return vmofs_err_set(err, -ENAMETOOLONG, "the key of '%s' is too long", source);
	memcpy(o->prefix, key, len + 1);
	return 0;
}

/* -- the endpoint ----------------------------------------------------------------------------- */

static int set_endpoint(struct s3_options *o, const char *url, struct vmofs_err *err)
{
	struct url u;
	size_t path;

	o->tls = true;
	if (!url)
		return 0;
	if (url_parse(url, strlen(url), &u) < 0 || u.host.len == 0 || u.query.len > 0)
		return vmofs_err_set(err, -EINVAL,
				     "the endpoint '%s' is no http URL: http[s]://HOST[:PORT]",
				     url);
	o->tls = u.tls;
	path = u.path.len;
	while (path > 0 && u.path.p[path - 1] == '/')
		path--;
	if (u.host.len + 7 > sizeof o->host || path >= sizeof o->base)
		return vmofs_err_set(err, -ENAMETOOLONG, "the endpoint '%s' is too long", url);
	if (url_port(&u) == (u.tls ? 443 : 80))
		snprintf(o->host, sizeof o->host, "%.*s", (int)u.host.len, u.host.p);
	else
		snprintf(o->host, sizeof o->host, "%.*s:%u", (int)u.host.len, u.host.p,
			 url_port(&u));
	for (char *p = o->host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	memcpy(o->base, u.path.p ? u.path.p : "", path);
	o->base[path] = '\0';
	return 0;
}

/* Other servers than AWS mostly have no names for buckets, and certificates have none with dots. */
static bool wants_path(const struct s3_options *o)
{
	const char *dot = o->host[0] ? strstr(o->host, ".amazonaws.com") : ".amazonaws.com";

	if (!dot || strpbrk(o->bucket, "._"))
		return true;
	for (const char *p = o->bucket; *p; p++)
		if (isupper((unsigned char)*p))
			return true;
	return false;
}

static int read_addressing(struct s3_options *o, const struct vmofs_config *c,
			   struct vmofs_err *err)
{
	enum { AUTO, PATH };
	static const char *const words[] = { [AUTO] = "auto", [PATH] = "path", "virtual", NULL };
	int choice = config_choice(c, "addressing", words, err);

	if (choice < 0)
		return choice;
	o->path_style = choice == PATH || (choice == AUTO && wants_path(o));
	return 0;
}

static int read_acl(struct s3_options *o, const struct vmofs_config *c, struct vmofs_err *err)
{
	static const char *const words[] = { [S3_ACL_KEEP] = "keep",
					     [S3_ACL_IGNORE] = "ignore",
					     [S3_ACL_REQUIRE] = "require",
					     NULL };
	int choice = config_choice(c, "acl", words, err);

	if (choice < 0)
		return choice;
	o->acl = (enum s3_acl_mode)choice;
	return 0;
}

static int read_region(const struct vmofs_config *c, const struct s3_chain *chain,
		       char region[S3_REGION], struct vmofs_err *err)
{
	const char *r = config_str(c, "region");

	if (!r)
		r = s3_chain_region(chain);
	if (!r)
		r = "us-east-1";
	if (strlen(r) >= S3_REGION ||
	    strspn(r,
		   "abcdefghijklmnopqrstuvwxyz"
		   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != strlen(r))
		return vmofs_err_set(err, -EINVAL, "'%s' is no name of a region", r);
	memcpy(region, r, strlen(r) + 1);
	return 0;
}

/* -- SSE-C ------------------------------------------------------------------------------------ */

static ssize_t read_key_file(const char *path, uint8_t *buf, size_t cap, struct vmofs_err *err)
{
	cleanup(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, cap);

	if (n < 0)
		return vmofs_err_set(err, -errno, "cannot read the key file '%s'", path);
	return n;
}

/* 32 bytes as they are, or their base64 with white space around. */
static int take_key(const uint8_t *text, size_t n, uint8_t key[SSE_KEY_LEN])
{
	if (n == SSE_KEY_LEN) {
		memcpy(key, text, SSE_KEY_LEN);
		return 0;
	}
	while (n > 0 && isspace(text[n - 1]))
		n--;
	return digest_unbase64((const char *)text, n, key, SSE_KEY_LEN) == SSE_KEY_LEN ? 0
										       : -EINVAL;
}

struct sse_scratch {
	uint8_t text[128];
	uint8_t key[SSE_KEY_LEN];
};

static int set_key(struct s3_options *o, const uint8_t key[SSE_KEY_LEN], struct vmofs_err *err)
{
	uint8_t md5[16];

	o->sse_key = secret_alloc(64);
	o->sse_md5 = secret_alloc(32);
	if (!o->sse_key || !o->sse_md5)
		return vmofs_err_set(err, -ENOMEM, "no memory for a key");
	if (digest_md5(key, SSE_KEY_LEN, md5) < 0)
		return vmofs_err_set(err, -EIO, "cannot compute MD5, which SSE-C needs");
	digest_base64(key, SSE_KEY_LEN, o->sse_key);
	digest_base64(md5, sizeof md5, o->sse_md5);
	return 0;
}

static int read_sse(struct s3_options *o, const struct vmofs_config *c, struct vmofs_err *err)
{
	const char *path = config_str(c, "sse-c-key-file");
	cleanup(secret_freep) struct sse_scratch *t = NULL;
	ssize_t n;

	if (!path)
		return 0;
	if (!o->tls && !config_bool(c, "insecure"))
		return vmofs_err_set(err, -EINVAL,
				     "option 'sse-c-key-file': the key would go over http in the "
				     "clear; use https, or -o insecure on a network you trust");
	t = secret_alloc(sizeof *t);
	if (!t)
		return vmofs_err_set(err, -ENOMEM, "no memory for a key");
	n = read_key_file(path, t->text, sizeof t->text, err);
	if (n < 0)
		return (int)n;
	if (take_key(t->text, (size_t)n, t->key) < 0)
		return vmofs_err_set(err, -EINVAL,
				     "'%s' has no key for SSE-C: 32 bytes, or base64 of them",
				     path);
	return set_key(o, t->key, err);
}

void s3_options_clear(struct s3_options *o)
{
	secret_free(o->sse_key);
	secret_free(o->sse_md5);
	o->sse_key = o->sse_md5 = NULL;
}

/* -- everything ------------------------------------------------------------------------------- */

static int read_number(const struct vmofs_config *c, const char *name, unsigned max, unsigned *out,
		       struct vmofs_err *err)
{
	uint64_t v;

	if (config_u64(c, name, &v, err) < 0)
		return err->code;
	if (v < 1 || v > max)
		return vmofs_err_set(err, -EINVAL, "option '%s': between 1 and %u", name, max);
	*out = (unsigned)v;
	return 0;
}

static int read_small_parts(struct s3_options *o, const struct vmofs_config *c,
			    struct vmofs_err *err)
{
	enum { ASSEMBLE, FETCH };
	static const char *const words[] = { [ASSEMBLE] = "assemble", [FETCH] = "fetch", NULL };
	int choice = config_choice(c, "small-parts", words, err);

	o->assemble = choice == ASSEMBLE;
	return choice < 0 ? choice : 0;
}

static int read_upload(struct s3_options *o, const struct vmofs_config *c, struct vmofs_err *err)
{
	int r = read_number(c, "upload-parallel", 64, &o->upload_parallel, err);

	if (r == 0)
		r = config_size(c, "upload-part", &o->upload_part, err);
	if (r == 0 && (o->upload_part < MIB(5) || o->upload_part > GIB(1)))
		r = vmofs_err_set(err, -EINVAL, "option 'upload-part': between 5M and 1G");
	return r == 0 ? read_small_parts(o, c, err) : r;
}

int s3_options_read(struct s3_options *o, const struct vmofs_config *c,
		    const struct s3_chain *chain, char region[S3_REGION], struct vmofs_err *err)
{
	const char *url = config_str(c, "endpoint");
	int r = set_endpoint(o, url ? url : s3_chain_endpoint(chain), err);

	if (r == 0)
		r = read_addressing(o, c, err);
	if (r == 0)
		r = read_region(c, chain, region, err);
	if (r == 0)
		r = read_number(c, "list-page", 1000, &o->page, err);
	if (r == 0)
		r = read_number(c, "list-parallel", 64, &o->parallel, err);
	if (r == 0)
		r = config_size(c, "part-size", &o->part_size, err);
	if (r == 0)
		r = read_upload(o, c, err);
	if (r == 0)
		r = read_acl(o, c, err);
	if (r == 0)
		r = read_sse(o, c, err);
	o->dual_stack = config_bool(c, "dual-stack");
	o->requester_pays = config_bool(c, "requester-pays");
	return r;
}
