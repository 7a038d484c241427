#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# FLAVOURS: gcc asan
# The endpoint comes from the option, the environment or the profile; the region too, or from the server's own answer.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

s3_start
s3_mb bucket
s3_fill s3://bucket/ 3 1
export AWS_ACCESS_KEY_ID=$S3_KEY AWS_SECRET_ACCESS_KEY=$S3_SECRET
works() # WHAT [ARGUMENT...]
{
	what=$1; shift
	vmofs_mount s3://bucket "$MNT" "$@"
	assert_eq d000/f00001 "$(cat "$MNT/d000/f00001")" "$what"
	vmofs_umount
}
works "the option" -o "endpoint=$S3_URL,region=eu-west-3"
AWS_ENDPOINT_URL=$S3_URL works "the variable"
AWS_ENDPOINT_URL=http://127.0.0.1:1 AWS_ENDPOINT_URL_S3=$S3_URL works "the variable of S3 alone"
printf '[default]\nregion = eu-west-3\nendpoint_url = %s\n' "$S3_URL" >"$TEST_TMP/config"
AWS_CONFIG_FILE=$TEST_TMP/config works "the profile"

# A server that wants to be addressed by the region it is in, as S3 says that.
XML='<?xml version="1.0" encoding="UTF-8"?><Error><Code>AuthorizationHeaderMalformed</Code><Message>The region is wrong.</Message><Region>eu-test-7</Region></Error>'
s3_front 'if ($http_authorization !~ /eu-test-7/s3/) { return 463; }' "error_page 463 =400 /elsewhere;
	location = /elsewhere { internal; default_type application/xml; add_header x-amz-bucket-region eu-test-7 always; return 400 '$XML'; }"
AWS_ENDPOINT_URL=$S3_URL AWS_REGION=us-east-1 works "a redirected region"
AWS_ENDPOINT_URL=$S3_URL works "a region that nobody told"
