#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Credentials that end in the middle of a long read are fetched anew, and the reader sees nothing of it.
. "$TEST_LIB/common.sh"
. "$TEST_LIB/s3.sh"

make_object big 50331648
s3_start
s3_user next NEWKEY000000000000AB new/secret
s3_mb bucket public
s3_put "$SRV/big" s3://bucket/big
# From when the file is there, the first key has expired, as S3 says it. The rest is for radosgw to verify.
EXPIRED=$TEST_TMP/expired
EXPIRED_XML='<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><RequestId>REQEXPIRED</RequestId></Error>'
s3_front "limit_rate 8m; set \$old \$http_authorization; if (!-f $EXPIRED) { set \$old ''; }
		if (\$old ~ Credential=$S3_KEY/) { return 463; }" \
	"error_page 463 =403 /expired; location = /expired { internal; default_type application/xml; return 403 '$EXPIRED_XML'; }"
cat >"$TEST_TMP/process" <<PROCESS
#!/bin/sh
echo call >>$TEST_TMP/calls
if [ -e $EXPIRED ]; then
	echo '{"Version": 1, "AccessKeyId": "NEWKEY000000000000AB", "SecretAccessKey": "new/secret", "Expiration": "2099-01-01T00:00:00Z"}'
else
	echo '{"Version": 1, "AccessKeyId": "$S3_KEY", "SecretAccessKey": "$S3_SECRET", "Expiration": "2099-01-01T00:00:00Z"}'
fi
PROCESS
chmod 755 "$TEST_TMP/process"
cat >"$TEST_TMP/config" <<CONFIG
[profile rolling]
credential_process = $TEST_TMP/process
region = us-east-1
CONFIG
export AWS_CONFIG_FILE=$TEST_TMP/config AWS_PROFILE=rolling AWS_ENDPOINT_URL=$S3_URL
vmofs_mount s3://bucket "$MNT" -o readahead-max=4M
s3_mark
# By way of small steps, so that there is much left to ask for when the key ends.
python3 - "$MNT/big" "$SRV/big" "$EXPIRED" <<'PY'
import sys
with open(sys.argv[1], "rb") as got, open(sys.argv[2], "rb") as want:
    n = 0
    while True:
        a, b = got.read(1 << 20), want.read(1 << 20)
        if a != b:
            sys.exit(f"wrong bytes in MiB {n}")
        if not a:
            break
        n += 1
        if n == 8:
            open(sys.argv[3], "w").close()
PY
[ -e "$EXPIRED" ] || fail "nothing expired"
assert_between 1 "$(s3_count '" 403 ')" 200 "refused requests"
assert_eq 0 "$(vmofs_stat read_errors)" "read errors"
assert_between 2 "$(wc -l <"$TEST_TMP/calls")" 6 "calls of the process"
ls "$MNT" >/dev/null
expect_log ExpiredToken
