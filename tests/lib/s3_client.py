# SPDX-License-Identifier: Apache-2.0
"""The client that is not ours: Debian's boto3 against $S3_URL with $S3_KEY and $S3_SECRET.

mb BUCKET [versioned] [public]             a bucket
put FILE s3://B/K [NAME=VALUE]...          an object, with metadata; FILE - is standard input
put_sse_c FILE s3://B/K KEYFILE             an object that is stored under the customer's key
sync DIR s3://B/PREFIX                     all files below DIR
fill s3://B/PREFIX KEYS DIRECTORIES        PREFIXdNNN/fNNNNN, each with its key as contents
texts BUCKET                               {key: text} as JSON from standard input
rm s3://B/K...                             objects
versions s3://B/K                          its version ids, the newest first
get s3://B/K FILE                          what an object has, and fails where there is none
ls s3://B/PREFIX                           keys and sizes
presign s3://B/K                           a URL that is good for an hour
head s3://B/K                              the header lines of HEAD
tag s3://B/K NAME=VALUE...                 its tags
tags s3://B/K                              prints them, in their order
grant s3://B/K CANNED|GrantRead=id=WHO...  its access control list beside the owner's
acl s3://B/K                               prints it, sorted, with "owner" for his id
own BUCKET OWNERSHIP                       as BucketOwnerEnforced
upload s3://B/K                            begins an upload in parts, and prints its id
uploads BUCKET                             key and id of each that is under way
filled BUCKET                              those of them that have parts
"""
import concurrent.futures
import json
import os
import sys
import time

import boto3
import botocore.config

THREADS = 16
URL = os.environ["S3_URL"]
client = boto3.client(
    "s3", endpoint_url=URL, region_name="us-east-1", aws_access_key_id=os.environ["S3_KEY"],
    aws_secret_access_key=os.environ["S3_SECRET"],
    config=botocore.config.Config(s3={"addressing_style": "path"}, max_pool_connections=THREADS,
                                  signature_version="s3v4", retries={"max_attempts": 5}, read_timeout=120))


def split(url):
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def settle(bucket, keys):
    """Waits until all keys are listed. From then on nothing should be put into this bucket of radosgw's: its posix
    backend lists such keys twice, and overwritten ones with sizes from nowhere (moto does neither)."""
    end = time.monotonic() + 60
    while True:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        missing = set(keys) - {o["Key"] for page in pages for o in page.get("Contents", [])}
        if not missing or time.monotonic() > end:
            break
        time.sleep(0.2)
    if missing:
        sys.exit(f"s3_client: {len(missing)} keys are not listed, as {sorted(missing)[0]!r}")


def put_all(bucket, bodies):
    """bodies: key -> a function that gives its bytes."""
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=bodies[key]()), bodies))
    settle(bucket, bodies)


def mb(bucket, *how):
    client.create_bucket(Bucket=bucket)
    if "versioned" in how:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    if "public" in how:
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}))


def put(path, url, *metadata):
    bucket, key = split(url)
    body = sys.stdin.buffer.read() if path == "-" else open(path, "rb")
    client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=dict(m.split("=", 1) for m in metadata))


def put_sse_c(path, url, key_file):
    bucket, key = split(url)
    with open(path, "rb") as body, open(key_file, "rb") as secret:
        client.put_object(Bucket=bucket, Key=key, Body=body, SSECustomerAlgorithm="AES256",
                          SSECustomerKey=secret.read())


def sync(top, url):
    bucket, prefix = split(url)
    paths = [os.path.join(d, f) for d, _, files in os.walk(top) for f in files]
    put_all(bucket, {prefix + os.path.relpath(p, top): lambda p=p: open(p, "rb").read() for p in paths})


def fill(url, count, directories):
    bucket, prefix = split(url)
    keys = [f"{prefix}d{i % int(directories):03}/f{i:05}" for i in range(int(count))]
    put_all(bucket, {key: lambda key=key: key.encode() for key in keys})


def texts(bucket):
    put_all(bucket, {key: lambda text=text: text.encode() for key, text in json.load(sys.stdin).items()})


def rm(*urls):
    for bucket, key in map(split, urls):
        client.delete_object(Bucket=bucket, Key=key)


def versions(url):
    bucket, key = split(url)
    for version in client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]:
        if version["Key"] == key:
            print(version["VersionId"])


def get(url, path):
    bucket, key = split(url)
    client.download_file(bucket, key, path)


def ls(url):
    bucket, prefix = split(url)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for o in page.get("Contents", []):
            print(o["Size"], o["Key"])


def presign(url):
    bucket, key = split(url)
    print(client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600))


def head(url):
    bucket, key = split(url)
    answer = client.head_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPHeaders"]
    print("\n".join(f"{name}: {value}" for name, value in answer.items()))


def tag(url, *tags):
    bucket, key = split(url)
    client.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [
        dict(zip(("Key", "Value"), t.split("=", 1))) for t in tags]})


def tags(url):
    bucket, key = split(url)
    for t in client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]:
        print(t["Key"] + "=" + t["Value"])


def grant(url, *rights):
    bucket, key = split(url)
    if "=" not in rights[0]:
        client.put_object_acl(Bucket=bucket, Key=key, ACL=rights[0])
        return
    owner = client.get_object_acl(Bucket=bucket, Key=key)["Owner"]["ID"]
    # Not as XML, of which moto takes a part.
    client.put_object_acl(Bucket=bucket, Key=key, GrantFullControl=f'id="{owner}"', **dict(r.split("=", 1) for r in rights))


def acl(url):
    bucket, key = split(url)
    got = client.get_object_acl(Bucket=bucket, Key=key)
    for line in sorted(f'{g["Permission"]} {g["Grantee"].get("URI") or g["Grantee"].get("ID")}' for g in got["Grants"]):
        print(line.replace(" " + got["Owner"]["ID"], " owner"))


def own(bucket, ownership):
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": ownership}]})


def upload(url):
    bucket, key = split(url)
    print(client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])


def uploads(bucket):
    for u in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        print(u["Key"], u["UploadId"])


def filled(bucket):
    for u in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        if client.list_parts(Bucket=bucket, Key=u["Key"], UploadId=u["UploadId"]).get("Parts"):
            print(u["Key"], u["UploadId"])


COMMANDS = {f.__name__: f for f in (mb, put, put_sse_c, sync, fill, texts, rm, versions, get, ls, presign, head, tag, tags, grant, acl, own, upload, uploads,
                                   filled)}
COMMANDS[sys.argv[1]](*sys.argv[2:])
