# SPDX-License-Identifier: Apache-2.0
#
#   docker build -t vmofs .
#   docker run --rm --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined \
#     -v /srv/big:/mnt:rshared vmofs mount -f -o allow_other https://host/big.bin /mnt
#
# vmofs runs as its own user; fusermount3 does the mount(2), which is what SYS_ADMIN is for.
FROM debian:trixie-slim AS build
COPY conf/setup.sh /src/conf/
RUN sh /src/conf/setup.sh --build
COPY . /src
RUN cmake -S /src -B /build -G Ninja -DCMAKE_INSTALL_PREFIX=/usr -DVMOFS_TESTS=OFF -DVMOFS_WERROR=OFF \
 && cmake --build /build \
 && DESTDIR=/out cmake --install /build --strip

FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates fuse3 libcurl4t64 libssl3t64 libzstd1 libjansson4 libexpat1 \
 && rm -rf /var/lib/apt/lists/* \
 && echo user_allow_other >>/etc/fuse.conf \
 && useradd --system --create-home --home-dir /var/lib/vmofs vmofs
COPY --from=build /out/usr/bin/vmofs /usr/bin/
COPY --from=build /out/usr/sbin/mount.vmofs /usr/sbin/
USER vmofs
WORKDIR /var/lib/vmofs
ENTRYPOINT ["vmofs"]
CMD ["--help"]
