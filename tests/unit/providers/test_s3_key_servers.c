/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access keys from servers: roles of STS, single sign-on, containers, instance metadata. What is asked, of
 * whom, with which secrets, and what is said when it fails.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/macros.h"
#include "base/secret.h"
#include "lib/key_rig.h"
#include "lib/script_httpd.h"
#include "s3/credentials_parse.h"
#include "s3/sigv4.h"

#define ANSWER(access, secret, until)                                                           \
	"<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"              \
	"<AssumeRoleResult><AssumedRoleUser><AssumedRoleId>X</AssumedRoleId></AssumedRoleUser>" \
	"<Credentials><AccessKeyId>" access "</AccessKeyId><SecretAccessKey>" secret            \
	"</SecretAccessKey><SessionToken>HUSH&amp;T</SessionToken><Expiration>" until           \
	"</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
#define KEYS_JSON(access, secret)                                                            \
	"{\"Code\":\"Success\",\"AccessKeyId\":\"" access "\",\"SecretAccessKey\":\"" secret \
	"\",\"Token\":\"HUSHT\",\"Expiration\":\"2099-01-01T00:00:00Z\"}"
#define LATER "2099-01-01T00:00:00Z"

static void has_part(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no '%s' in: %s", part, text);
}

static struct script_httpd *start(const char *variable)
{
	struct script_httpd *h = script_httpd_new();

	if (variable)
		setenv(variable, script_httpd_url(h), 1);
	return h;
}

/* -- roles ------------------------------------------------------------------------------------ */

static const char role_config[] = "[default]\n"
				  "aws_access_key_id = AKBASE\n"
				  "aws_secret_access_key = HUSHbase\n"
				  "[profile reader]\n"
				  "role_arn = arn:aws:iam::1:role/reader\n"
				  "source_profile = default\n"
				  "external_id = e&x t\n"
				  "role_session_name = me\n"
				  "duration_seconds = 900\n"
				  "region = eu-west-3\n"
				  "[profile second]\n"
				  "role_arn = arn:aws:iam::1:role/second\n"
				  "source_profile = reader\n"
				  "[profile self]\n"
				  "role_arn = arn:aws:iam::1:role/self\n"
				  "source_profile = self\n"
				  "aws_access_key_id = AKSELF\n"
				  "aws_secret_access_key = HUSHself\n"
				  "[profile env]\n"
				  "role_arn = arn:aws:iam::1:role/env\n"
				  "credential_source = Environment\n"
				  "[profile a]\nrole_arn = x\nsource_profile = b\n"
				  "[profile b]\nrole_arn = x\nsource_profile = a\n"
				  "[profile lost]\nrole_arn = x\nsource_profile = nobody\n"
				  "[profile alone]\nrole_arn = x\n"
				  "[profile both]\nrole_arn = x\nsource_profile = default\n"
				  "credential_source = Environment\n"
				  "[profile odd]\nrole_arn = x\ncredential_source = Moon\n"
				  "[profile mfa]\nrole_arn = x\nsource_profile = default\n"
				  "mfa_serial = y\n";

/* The signature in @request is that of its body by @access and @secret. */
static void check_signature(const char *request, const char *access, const char *secret,
			    const char *host, const char *region, time_t when)
{
	static const struct sigv4_pair type = {
		"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"
	};
	const struct s3_credentials k = { .access_key = access, .secret_key = secret };
	const struct sigv4_scope scope = { region, "sts", when };
	const char *body = strstr(request, "\r\n\r\n") + 4;
	struct sigv4_request q = {
		.method = "POST", .host = host, .path = "/", .headers = &type, .nheaders = 1
	};
	char payload[2 * SHA256_LEN + 1];
	uint8_t digest[SHA256_LEN];
	struct sigv4_lines lines;

	assert_int_equal(digest_sha256(body, strlen(body), digest), 0);
	digest_hex(digest, sizeof digest, payload);
	q.payload = payload;
	assert_int_equal(sigv4_sign(&k, &scope, &q, &lines), 0);
	has_part(request, lines.authorization);
	has_part(request, type.value);
	sigv4_clear(&lines);
}

static void test_role(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start("AWS_ENDPOINT_URL_STS");
	const char *q;

	key_rig_clock(1600000000);
	key_rig_file(r, ".aws/config", role_config);
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AKROLE", "HUSH&lt;R", LATER));
	key_rig_gives(r, "profile=reader", "AKROLE", "HUSH<R", "HUSH&T", "profile 'reader' (role)");
	q = script_httpd_request(h, 0);
	has_part(q,
		 "\r\n\r\nAction=AssumeRole&Version=2011-06-15&"
		 "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Freader&RoleSessionName=me&"
		 "DurationSeconds=900&ExternalId=e%26x%20t");
	check_signature(q, "AKBASE", "HUSHbase", script_httpd_url(h) + 7, "eu-west-3", 1600000000);
	assert_null(strstr(q, "HUSH"));
	script_httpd_free(h);
}

static void test_role_after_role(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start("AWS_ENDPOINT_URL_STS");

	key_rig_clock(1600000000);
	key_rig_file(r, ".aws/config", role_config);
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AK1", "HUSH1", LATER));
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AK2", "HUSH2", LATER));
	key_rig_gives(r, "profile=second", "AK2", "HUSH2", "HUSH&T", "profile 'second' (role)");
	has_part(script_httpd_request(h, 0), "role%2Freader");
	has_part(script_httpd_request(h, 1), "role%2Fsecond&RoleSessionName=vmofs-1600000000");
	has_part(script_httpd_request(h, 1), "Credential=AK1/20200913/us-east-1/sts/aws4_request");
	has_part(script_httpd_request(h, 1), "x-amz-security-token: HUSH&T\r\n");
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AK3", "HUSH3", LATER));
	key_rig_gives(r, "profile=self", "AK3", "HUSH3", "HUSH&T", "profile 'self' (role)");
	has_part(script_httpd_request(h, 2), "Credential=AKSELF/");
	setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "HUSHenv", 1);
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AK4", "HUSH4", LATER));
	key_rig_gives(r, "profile=env", "AK4", "HUSH4", "HUSH&T", "profile 'env' (role)");
	has_part(script_httpd_request(h, 3), "Credential=AKENV/");
	script_httpd_free(h);
}

static void test_roles_that_cannot_be(void **state)
{
	struct key_rig *r = *state;

	key_rig_file(r, ".aws/config", role_config);
	key_rig_refuses(r, "profile=a", -ELOOP, "circle: 'a' > 'b' > 'a'");
	key_rig_refuses(r, "profile=lost", -ENOENT, "source_profile 'nobody' is not in");
	key_rig_refuses(r, "profile=alone", -EINVAL, "neither source_profile");
	key_rig_refuses(r, "profile=both", -EINVAL, "one is to go");
	key_rig_refuses(r, "profile=odd", -EINVAL, "unknown credential_source 'Moon'");
	key_rig_refuses(r, "profile=mfa", -EACCES, "one-time code");
	key_rig_refuses(r, "profile=env", -EACCES, "AWS_ACCESS_KEY_ID is not set");
}

static void test_role_refused(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start("AWS_ENDPOINT_URL_STS");

	key_rig_file(r, ".aws/config", role_config);
	script_httpd_say(h, 1, "POST / ", 403, "",
			 "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
			 "<Message>you\nmay not</Message></Error></ErrorResponse>");
	key_rig_refuses(r, "profile=reader", -EACCES, "AccessDenied: you may not");
	has_part(r->err.msg, "arn:aws:iam::1:role/reader");
	script_httpd_say(h, 1, "POST / ", 400, "", "{\"oops\":1}");
	key_rig_refuses(r, "profile=reader", -EACCES, "answered 400");
	script_httpd_say(h, 1, "POST / ", 200, "", "no XML");
	key_rig_refuses(r, "profile=reader", -EBADMSG, "cannot be read");
	script_httpd_say(h, 1, "POST / ", 200, "", "<a/>");
	key_rig_refuses(r, "profile=reader", -EACCES, "is missing");
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("A", "HUSH", "2020-01-01T00:00:00Z"));
	key_rig_refuses(r, "profile=reader", -EACCES, "have expired");
	assert_int_equal(script_httpd_requests(h), 5);
	script_httpd_say(h, 3, "POST / ", 503, "", "");
	key_rig_refuses(r, "profile=reader", -EACCES, "answered 503");
	assert_int_equal(script_httpd_requests(h), 8);
	script_httpd_say(h, 1, "POST / ", 500, "", "");
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AK", "HUSH", LATER));
	key_rig_gives(r, "profile=reader", "AK", "HUSH", "HUSH&T", "profile 'reader' (role)");
	script_httpd_free(h);
	key_rig_refuses(r, "profile=reader", -EIO, "no answer from STS");
}

/* The server's clock says how wrong ours is. */
static void test_clock_skew(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start("AWS_ENDPOINT_URL_STS");

	key_rig_clock(1600000000);
	key_rig_file(r, ".aws/config", role_config);
	script_httpd_say(h, 1, "POST / ", 403, "Date: Sun, 13 Sep 2020 13:26:40 GMT\r\n",
			 "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error>"
			 "</ErrorResponse>");
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AK", "HUSH", LATER));
	key_rig_gives(r, "profile=reader", "AK", "HUSH", "HUSH&T", "profile 'reader' (role)");
	has_part(script_httpd_request(h, 0), "x-amz-date: 20200913T122640Z");
	has_part(script_httpd_request(h, 1), "x-amz-date: 20200913T132640Z");
	check_signature(script_httpd_request(h, 1), "AKBASE", "HUSHbase", script_httpd_url(h) + 7,
			"eu-west-3", 1600003600);
	/* Where the clocks agree nothing is asked twice. */
	script_httpd_say(h, 1, "POST / ", 403, "Date: Sun, 13 Sep 2020 12:27:40 GMT\r\n", "");
	key_rig_refuses(r, "profile=reader", -EACCES, "answered 403");
	assert_int_equal(script_httpd_requests(h), 3);
	script_httpd_free(h);
}

static void test_web_identity(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start("AWS_ENDPOINT_URL");
	const char *q;

	key_rig_file(r, "token", "HUSH.web/token\n");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", key_rig_path(r, "token"), 1);
	key_rig_refuses(r, NULL, -EINVAL, "AWS_ROLE_ARN is not");
	setenv("AWS_ROLE_ARN", "arn:x", 1);
	setenv("AWS_ROLE_SESSION_NAME", "pod", 1);
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AKW", "HUSHW", LATER));
	key_rig_gives(r, NULL, "AKW", "HUSHW", "HUSH&T", "environment (web identity)");
	q = script_httpd_request(h, 0);
	has_part(q,
		 "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Ax&"
		 "RoleSessionName=pod&WebIdentityToken=HUSH.web%2Ftoken");
	assert_null(strstr(q, "Authorization"));
	/* The token is read again each time. */
	key_rig_file(r, "token", "HUSHnext");
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AKX", "HUSHX", LATER));
	key_rig_fetch(r, "AKW");
	key_rig_has(r, "AKX", "HUSHX", "HUSH&T");
	has_part(script_httpd_request(h, 1), "WebIdentityToken=HUSHnext");
	key_rig_filef(r, ".aws/config",
		      "[profile web]\nrole_arn = arn:y\nweb_identity_token_file = %s\n"
		      "[profile none]\nweb_identity_token_file = /none\nrole_arn = x\n",
		      key_rig_path(r, "token"));
	script_httpd_say(h, 1, "POST / ", 200, "", ANSWER("AKY", "HUSHY", LATER));
	key_rig_gives(r, "profile=web", "AKY", "HUSHY", "HUSH&T", "profile 'web' (web identity)");
	key_rig_refuses(r, "profile=none", -ENOENT, "cannot read a web identity token");
	key_rig_file(r, "token", " \n");
	key_rig_refuses(r, "profile=web", -EINVAL, "it is empty");
	script_httpd_free(h);
}

/* -- single sign-on --------------------------------------------------------------------------- */

static const char sso_config[] = "[profile new]\nsso_session = corp\nsso_account_id = 42\n"
				 "sso_role_name = Read Only\n"
				 "[sso-session corp]\nsso_start_url = https://corp.example/start\n"
				 "sso_region = eu-west-1\n"
				 "[profile old]\nsso_start_url = https://old.example/start\n"
				 "sso_region = eu-west-1\nsso_account_id = 43\nsso_role_name = R\n"
				 "[profile half]\nsso_session = corp\nsso_account_id = 42\n";
#define SSO_JSON                                                                       \
	"{\"roleCredentials\":{\"accessKeyId\":\"AKS\",\"secretAccessKey\":\"HUSHS\"," \
	"\"sessionToken\":\"HUSHT\",\"expiration\":4070908800000}}"

static void sign_in(struct key_rig *r, const char *of, const char *until)
{
	uint8_t digest[20];
	char hex[41], name[100];

	digest_sha1(of, strlen(of), digest);
	digest_hex(digest, sizeof digest, hex);
	snprintf(name, sizeof name, ".aws/sso/cache/%s.json", hex);
	key_rig_filef(r, name,
		      "{\"startUrl\":\"x\",\"accessToken\":\"HUSHin\",\"expiresAt\":\"%s\"}",
		      until);
}

static void test_single_sign_on(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start("AWS_ENDPOINT_URL_SSO");
	bool ageing;
	struct s3_credentials *k;

	key_rig_file(r, ".aws/config", sso_config);
	sign_in(r, "corp", LATER);
	sign_in(r, "https://old.example/start", "2099-01-01T00:00:00UTC");
	script_httpd_say(h, 2, "GET /federation/credentials?", 200, "", SSO_JSON);
	key_rig_gives(r, "profile=new", "AKS", "HUSHS", "HUSHT", "profile 'new' (sso)");
	k = s3_chain_current(r->chain, &ageing);
	assert_int_equal(k->expires, 4070908800);
	s3_credentials_put(k);
	has_part(script_httpd_request(h, 0), "?role_name=Read%20Only&account_id=42 ");
	has_part(script_httpd_request(h, 0), "x-amz-sso_bearer_token: HUSHin\r\n");
	key_rig_gives(r, "profile=old", "AKS", "HUSHS", "HUSHT", "profile 'old' (sso)");
	has_part(script_httpd_request(h, 1), "?role_name=R&account_id=43 ");
	script_httpd_free(h);
}

static void test_sign_in_needed(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start("AWS_ENDPOINT_URL_SSO");

	key_rig_file(r, ".aws/config", sso_config);
	key_rig_refuses(r, "profile=new", -EACCES, "run: aws sso login --profile new");
	has_part(r->err.msg, "nobody has signed in");
	sign_in(r, "corp", "2020-01-01T00:00:00Z");
	key_rig_refuses(r, "profile=new", -EACCES, "run: aws sso login --profile new");
	has_part(r->err.msg, "expired");
	sign_in(r, "corp", "soon");
	key_rig_refuses(r, "profile=new", -EACCES, "run: aws sso login --profile new");
	assert_int_equal(script_httpd_requests(h), 0);
	sign_in(r, "corp", LATER);
	script_httpd_say(h, 1, "GET /", 401, "", "{}");
	key_rig_refuses(r, "profile=new", -EACCES, "run: aws sso login --profile new");
	script_httpd_say(h, 1, "GET /", 403, "", "{}");
	key_rig_refuses(r, "profile=new", -EACCES, "is it assigned to you?");
	script_httpd_say(h, 1, "GET /", 200, "", "[]");
	key_rig_refuses(r, "profile=new", -EBADMSG, "cannot be read");
	key_rig_refuses(r, "profile=half", -EINVAL, "sso_role_name is not set");
	script_httpd_free(h);
	key_rig_refuses(r, "profile=new", -EIO, "no answer of single sign-on");
}

/* -- containers ------------------------------------------------------------------------------- */

static void container_at(const char *base, const char *path)
{
	char url[300];

	snprintf(url, sizeof url, "%s%s", base, path);
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
}

static void test_container(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start(NULL);

	container_at(script_httpd_url(h), "/creds?id=7");
	script_httpd_say(h, 3, "GET /creds?id=7 ", 200, "", KEYS_JSON("AKC", "HUSHC"));
	key_rig_gives(r, NULL, "AKC", "HUSHC", "HUSHT", "container");
	assert_null(strstr(script_httpd_request(h, 0), "Authorization"));
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "HUSHtoken", 1);
	key_rig_gives(r, NULL, "AKC", "HUSHC", "HUSHT", "container");
	has_part(script_httpd_request(h, 1), "Authorization: HUSHtoken\r\n");
	assert_string_equal(getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN"), "");
	key_rig_file(r, "token", "HUSHfile\n");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", key_rig_path(r, "token"), 1);
	key_rig_gives(r, NULL, "AKC", "HUSHC", "HUSHT", "container");
	has_part(script_httpd_request(h, 2), "Authorization: HUSHfile\r\n");
	script_httpd_say(h, 1, "GET /", 500, "", "");
	script_httpd_say(h, 1, "GET /", 200, "", KEYS_JSON("AKC", "HUSHC"));
	key_rig_gives(r, NULL, "AKC", "HUSHC", "HUSHT", "container");
	/* A body that ends early is no answer, and asked for again, but not without end. */
	script_httpd_say(h, 3, "GET /", 200, "X: y\r\nContent-Length: 9999\r\n", "{");
	key_rig_refuses(r, NULL, -EIO, "no answer of the container endpoint");
	assert_int_equal(script_httpd_requests(h), 8);
	script_httpd_say(h, 1, "GET /", 403, "", "HUSH");
	key_rig_refuses(r, NULL, -EACCES, "answered 403");
	script_httpd_say(h, 1, "GET /", 200, "", "{");
	key_rig_refuses(r, NULL, -EBADMSG, "cannot be read");
	key_rig_file(r, "token", "HUSH\r\nX: y");
	key_rig_refuses(r, NULL, -EINVAL, "line ends");
	remove(key_rig_path(r, "token"));
	key_rig_refuses(r, NULL, -ENOENT, "token of the container");
	script_httpd_free(h);
}

/* A token goes to nobody far away without TLS; that is decided before anybody is asked. */
static void test_container_hosts(void **state)
{
	static const char *const far[] = {
		"http://example.com/x",      "http://169.254.170.3/x", "http://127.0.0.1.example/x",
		"http://localhost.example/", "http://128.0.0.1/x",     "http://[fd00:ec2::24]/",
	};
	struct key_rig *r = *state;

	for (size_t i = 0; i < ARRAY_LEN(far); i++) {
		setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", far[i], 1);
		key_rig_refuses(r, NULL, -EACCES, "others need https");
	}
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "ftp://localhost/", 1);
	key_rig_refuses(r, NULL, -EINVAL, "no http URL");
}

/* -- instances -------------------------------------------------------------------------------- */

#define ROLES "GET /latest/meta-data/iam/security-credentials/ "

static struct script_httpd *start_imds(void)
{
	struct script_httpd *h = start("AWS_EC2_METADATA_SERVICE_ENDPOINT");

	unsetenv("AWS_EC2_METADATA_DISABLED");
	return h;
}

static void test_instance(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start_imds();

	script_httpd_say(h, -1, "PUT /latest/api/token ", 200, "", "HUSHtoken");
	script_httpd_say(h, 1, ROLES, 200, "", "my-role\n");
	script_httpd_say(h, 1, "GET /latest/meta-data/iam/security-credentials/my-role ", 200, "",
			 KEYS_JSON("AKI", "HUSHI"));
	key_rig_gives(r, NULL, "AKI", "HUSHI", "HUSHT", "instance metadata (role 'my-role')");
	has_part(script_httpd_request(h, 0), "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n");
	has_part(script_httpd_request(h, 1), "X-aws-ec2-metadata-token: HUSHtoken\r\n");
	has_part(script_httpd_request(h, 2), "X-aws-ec2-metadata-token: HUSHtoken\r\n");
	assert_int_equal(script_httpd_requests(h), 3);
	script_httpd_say(h, 1, ROLES, 200, "", "my-role");
	script_httpd_say(h, 1, "GET /latest/meta-data/iam/security-credentials/my-role ", 200, "",
			 "{\"Code\":\"Failed\"}");
	key_rig_refuses(r, NULL, -EACCES, "is missing");
	key_rig_refuses(r, NULL, -EACCES, "no role is attached");
	script_httpd_say(h, 1, ROLES, 401, "", "");
	key_rig_refuses(r, NULL, -EACCES, "answered 401");
	script_httpd_free(h);
}

static void test_no_instance(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start_imds();

	key_rig_refuses(r, NULL, -EACCES, "answered 404, and no token");
	has_part(r->err.msg, "no access keys found");
	script_httpd_gate(h, true); /* nobody answers */
	key_rig_chain(r, NULL);
	r->chain->metadata_ns = 20 * NSEC_PER_MSEC;
	key_rig_fails(r, NULL, -EACCES, "instance metadata: no answer from 'http://127.0.0.1");
	setenv("AWS_EC2_METADATA_DISABLED", "True", 1);
	key_rig_refuses(r, NULL, -EACCES, "AWS_EC2_METADATA_DISABLED is set");
	script_httpd_gate(h, false);
	script_httpd_free(h);
}

/* A proxy of the environment is not for the machine's own services. */
static void test_no_proxy_to_the_machine_itself(void **state)
{
	struct key_rig *r = *state;
	struct script_httpd *h = start(NULL), *proxy = start("http_proxy");

	container_at(script_httpd_url(h), "/c");
	script_httpd_say(h, 1, "GET /c ", 200, "", KEYS_JSON("AKC", "HUSHC"));
	key_rig_gives(r, NULL, "AKC", "HUSHC", "HUSHT", "container");
	assert_int_equal(script_httpd_requests(proxy), 0);
	unsetenv("http_proxy");
	script_httpd_free(h);
	script_httpd_free(proxy);
}

/* -- parsers ---------------------------------------------------------------------------------- */

static void test_json(void **state UNUSED)
{
	static const struct {
		const char *text, *path;
		int code;
		const char *value;
	} cases[] = {
		{ "{\"a\":\"b\"}", "a", 0, "b" },
		{ " { \"a\" : 1.5e3 , \"b\":[1,{\"a\":2}]}\n", "a", 0, "1.5e3" },
		{ "{\"x\":{\"a\":\"no\",\"b\":{\"c\":\"yes\"}}}", "x.b.c", 0, "yes" },
		{ "{\"x\":{\"a\":\"no\"}}", "a", -ENOENT, NULL },
		{ "{\"a\":\"1\",\"a\":\"2\"}", "a", 0, "2" },
		{ "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "a", 0, "\"\\/\b\f\n\r\t" },
		{ "{\"a\":\"\\u00fc\\u20AC\\ud83d\\ude00\"}", "a", 0,
		  "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "{\"a\":null}", "a", -ENOENT, NULL },
		{ "{\"a\":true}", "a", -EINVAL, NULL },
		{ "{\"a\":[]}", "a", -EINVAL, NULL },
		{ "{\"a\":\"\\ud83d\"}", "a", -EINVAL, NULL },
		{ "{\"a\":\"\\u0000\"}", "a", -EINVAL, NULL },
		{ "{\"a\":\"\\x\"}", "a", -EINVAL, NULL },
		{ "{\"a\":\"b\"", "a", -EINVAL, NULL },
		{ "{\"a\":\"b\"} x", "a", -EINVAL, NULL },
		{ "{\"a\":\"b\",}", "a", -EINVAL, NULL },
		{ "{\"a\":word}", "b", -EINVAL, NULL },
		{ "[]", "a", -EINVAL, NULL },
		{ "", "a", -EINVAL, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *out;
		int e = s3_json_text(cases[i].text, strlen(cases[i].text), cases[i].path, &out);

		if (e != cases[i].code)
			fail_msg("%s: %d", cases[i].text, e);
		if (cases[i].value)
			assert_string_equal(out, cases[i].value);
		else
			assert_null(out);
		secret_free(out);
	}
}

static void test_json_depth(void **state UNUSED)
{
	char text[400] = "{\"a\":";
	char *out;

	memset(text + 5, '[', 300);
	assert_int_equal(s3_json_text(text, strlen(text), "a", &out), -EINVAL);
}

static void test_xml(void **state UNUSED)
{
	static const char bomb[] = "<!DOCTYPE x [<!ENTITY a \"b\">]><Code>&a;</Code>";
	static const char nested[] = "<r><Code>a<b>c</b>d</Code><Code>two</Code></r>";
	struct s3_sts_answer x;

	assert_int_equal(s3_sts_parse(bomb, strlen(bomb), &x), -EINVAL);
	assert_null(x.code);
	s3_sts_release(&x);
	assert_int_equal(s3_sts_parse(nested, strlen(nested), &x), 0);
	assert_string_equal(x.code, "two");
	s3_sts_release(&x);
	assert_int_equal(s3_sts_parse("", 0, &x), -EINVAL);
	s3_sts_release(&x);
}

static void test_times(void **state UNUSED)
{
	static const struct {
		const char *text;
		time_t want; /* 0: none */
	} cases[] = {
		{ "2020-09-13T12:26:40Z", 1600000000 },
		{ "2020-09-13T12:26:40.123Z", 1600000000 },
		{ "2020-09-13T14:26:40+02:00", 1600000000 },
		{ "2020-09-13T12:26:40UTC", 1600000000 },
		{ "2020-09-13T07:26:40-05:00", 1600000000 },
		{ "2020-09-13T12:26:40", 0 },
		{ "2020-13-13T12:26:40Z", 0 },
		{ "1600000000", 0 },
		{ "2020-09-13T12:26:40+0200", 0 },
		{ "2020-9-13T12:26:40Z", 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		time_t t = 0;

		assert_int_equal(s3_parse_time(cases[i].text, &t), cases[i].want ? 0 : -EINVAL);
		assert_int_equal(t, cases[i].want);
	}
}

#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, key_rig_setup, key_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_role),
		RIG_TEST(test_role_after_role),
		RIG_TEST(test_roles_that_cannot_be),
		RIG_TEST(test_role_refused),
		RIG_TEST(test_clock_skew),
		RIG_TEST(test_web_identity),
		RIG_TEST(test_single_sign_on),
		RIG_TEST(test_sign_in_needed),
		RIG_TEST(test_container),
		RIG_TEST(test_container_hosts),
		RIG_TEST(test_instance),
		RIG_TEST(test_no_instance),
		RIG_TEST(test_no_proxy_to_the_machine_itself),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_depth),
		cmocka_unit_test(test_xml),
		cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
