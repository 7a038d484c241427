/* SPDX-License-Identifier: Apache-2.0 */
/* The AWS tools' configuration files: sections, nesting, values over several lines, and what is wrong. */
#include "s3/aws_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static struct aws_config config_of(const char *text)
{
	return (struct aws_config){ text, strlen(text), false };
}

static struct aws_config keys_of(const char *text)
{
	return (struct aws_config){ text, strlen(text), true };
}

static void is(struct aws_config c, enum aws_section kind, const char *section, const char *parent,
	       const char *key, const char *value)
{
	struct aws_span s;

	assert_true(aws_config_get(&c, kind, section, parent, key, &s));
	assert_int_equal(s.n, strlen(value));
	assert_memory_equal(s.p, value, s.n);
}

static void is_not(struct aws_config c, enum aws_section kind, const char *section,
		   const char *parent, const char *key)
{
	struct aws_span s;

	assert_false(aws_config_get(&c, kind, section, parent, key, &s));
}

static void tell_nobody(void *arg UNUSED, const struct aws_item *item UNUSED)
{
}

static unsigned bad_line(const char *text)
{
	struct aws_config c = config_of(text);

	return aws_config_each(&c, tell_nobody, NULL);
}

static const char example[] = "\xef\xbb\xbf# the main one\n"
			      "[default]\n"
			      "region = eu-west-1\r\n"
			      "  \n"
			      "; another comment\n"
			      "output=json\n"
			      "s3 =\n"
			      "    max_concurrent_requests = 20\n"
			      "    # not this\n"
			      "\tendpoint_url = http://localhost:9000/a=b\n"
			      "ca_bundle = /etc/ssl/ca.pem\n"
			      "[profile  dev ] # a comment\n"
			      "REGION: us-west-2\n"
			      "role_arn = arn:aws:iam::123456789012:role/x\n"
			      "source_profile=default\n"
			      "region = us-west-1\n"
			      "credential_process = /bin/a --b c=d  # no comment\n"
			      "[profile \"two words\"]\n"
			      "region = x\n"
			      "[sso-session corp]\n"
			      "sso_start_url = https://corp.example/start#/\n"
			      "[services local]\n"
			      "s3 =\n"
			      "  endpoint_url = http://127.0.0.1:1\n"
			      "sts =\n"
			      "  endpoint_url = http://127.0.0.1:2\n"
			      "[plugins]\n"
			      "region = nobody";

static void test_sections(void **state UNUSED)
{
	struct aws_config c = config_of(example);

	is(c, AWS_SECTION_PROFILE, "default", NULL, "region", "eu-west-1");
	is(c, AWS_SECTION_PROFILE, "default", NULL, "Output", "json");
	is(c, AWS_SECTION_PROFILE, "dev", NULL, "role_arn", "arn:aws:iam::123456789012:role/x");
	is(c, AWS_SECTION_PROFILE, "dev", NULL, "source_profile", "default");
	is(c, AWS_SECTION_PROFILE, "dev", NULL, "region", "us-west-1"); /* the last one */
	is(c, AWS_SECTION_PROFILE, "dev", NULL, "credential_process",
	   "/bin/a --b c=d  # no comment");
	is(c, AWS_SECTION_PROFILE, "two words", NULL, "region", "x");
	is(c, AWS_SECTION_SSO_SESSION, "corp", NULL, "sso_start_url",
	   "https://corp.example/start#/");
	is(c, AWS_SECTION_OTHER, "plugins", NULL, "region", "nobody");
	is_not(c, AWS_SECTION_PROFILE, "plugins", NULL, "region");
	is_not(c, AWS_SECTION_PROFILE, "Dev", NULL, "region");
	is_not(c, AWS_SECTION_PROFILE, "corp", NULL, "sso_start_url");
	assert_true(aws_config_has(&c, AWS_SECTION_SERVICES, "local"));
	assert_false(aws_config_has(&c, AWS_SECTION_SERVICES, "default"));
	assert_int_equal(bad_line(example), 0);
}

static void test_nested_settings(void **state UNUSED)
{
	struct aws_config c = config_of(example);

	is(c, AWS_SECTION_PROFILE, "default", "s3", "endpoint_url", "http://localhost:9000/a=b");
	is(c, AWS_SECTION_PROFILE, "default", "s3", "max_concurrent_requests", "20");
	is_not(c, AWS_SECTION_PROFILE, "default", NULL, "endpoint_url");
	is_not(c, AWS_SECTION_PROFILE, "default", NULL, "s3");
	is(c, AWS_SECTION_PROFILE, "default", NULL, "ca_bundle", "/etc/ssl/ca.pem");
	is_not(c, AWS_SECTION_PROFILE, "default", "s3", "ca_bundle");
	is(c, AWS_SECTION_SERVICES, "local", "s3", "endpoint_url", "http://127.0.0.1:1");
	is(c, AWS_SECTION_SERVICES, "local", "sts", "endpoint_url", "http://127.0.0.1:2");
}

static void test_values_over_lines(void **state UNUSED)
{
	struct aws_config c = config_of("[default]\n"
					"credential_process = one\n"
					"   two \n"
					"# between\n"
					"\tthree\n"
					"region = r\n");

	is(c, AWS_SECTION_PROFILE, "default", NULL, "credential_process",
	   "one\n   two \n# between\n\tthree");
	is(c, AWS_SECTION_PROFILE, "default", NULL, "region", "r");
}

static void test_the_credentials_file(void **state UNUSED)
{
	struct aws_config c = keys_of("[default]\n"
				      "aws_access_key_id=AK\n"
				      "[profile x]\n"
				      "aws_access_key_id=no\n"
				      "[x]\n"
				      "aws_access_key_id = XK\n"
				      "aws_secret_access_key = a=b:c\n");

	is(c, AWS_SECTION_PROFILE, "default", NULL, "aws_access_key_id", "AK");
	is(c, AWS_SECTION_PROFILE, "x", NULL, "aws_access_key_id", "XK");
	is(c, AWS_SECTION_PROFILE, "x", NULL, "aws_secret_access_key", "a=b:c");
	c.credentials = false;
	is(c, AWS_SECTION_PROFILE, "x", NULL, "aws_access_key_id", "no");
}

static void test_lines_that_are_none(void **state UNUSED)
{
	assert_int_equal(bad_line(""), 0);
	assert_int_equal(bad_line("\n\n"), 0);
	assert_int_equal(bad_line("region = x\n[default]\n"), 1); /* of no section */
	assert_int_equal(bad_line("[default\nregion = x\n"), 1);
	assert_int_equal(bad_line("[default]\n\nregion\n"), 3);
	assert_int_equal(bad_line("[default]\n= x\n"), 2);
	assert_int_equal(bad_line("[default]\ns3 =\n  endpoint\n"), 3);
	assert_int_equal(bad_line("[default]\n  region = x\n"), 2);
	/* What follows is read all the same. */
	is(config_of("[default]\nbad\nregion = x"), AWS_SECTION_PROFILE, "default", NULL, "region",
	   "x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_nested_settings),
		cmocka_unit_test(test_values_over_lines),
		cmocka_unit_test(test_the_credentials_file),
		cmocka_unit_test(test_lines_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
