# SPDX-License-Identifier: Apache-2.0
"""
usage: moto_atomic.py [ARGUMENT of moto_server]...
moto as S3 is: a request happens at one moment. By itself it handles requests side by side and keeps no order between
a look at a precondition and the change, so that of two conditional requests both can pass.
"""
import threading

from moto.s3.responses import S3Response
from moto.server import main

lock = threading.RLock()


def at_one_moment(method):
    def locked(*args, **named):
        with lock:
            return method(*args, **named)
    return locked


# By then the body has been read.
for name in "_bucket_response", "_key_response":
    setattr(S3Response, name, at_one_moment(getattr(S3Response, name)))
main()
