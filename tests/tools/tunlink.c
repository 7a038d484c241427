/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slow network on one machine: two network namespaces with one TUN device each, and this program
 * between them, which holds every packet for half the round-trip time and, if asked, to a bit rate, and loses some.
 * It prints where to enter (`nsenter --net=PATH`) and the addresses, then runs until it is ended;
 * both namespaces go with it. Segments stay whole up to 64 KiB (GSO), which is what lets a
 * user-space link carry more than a network card would; with loss they are of 1500 bytes, since one
 * in a hundred means one of those. A link with a rate drops what would wait in its queue for longer than
 * the time given, so that TCP finds the rate; without one the queue is as long as it has to be. The
 * packets that are lost are the same in every run. Not here: jitter, reordering, IPv6.
 * TCP's congestion control is reno on both sides, which every kernel allows and which does not differ
 * from cubic where nothing is lost, whatever the machine's is: bbr paces even 4 KiB over 1.5 ms.
 * One thread per direction, which owns that direction's queue; nothing is shared, so nothing is locked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NEAR_ADDR  "192.0.2.1"
#define FAR_ADDR   "192.0.2.2"
#define PACKET_MAX (65536u + 64u) /* the largest GSO packet and its virtio_net_hdr */
#define NPACKETS   65536u         /* a power of two */
#define BATCH      32

struct packet {
	uint64_t due; /* ns, CLOCK_MONOTONIC */
	uint32_t off; /* into the arena */
	uint32_t len;
};

/*
 * One direction. Packets lie in the arena in the order of arrival, each in one piece; [tail, head)
 * counts packets and only grows. The link is free for the next bit at @free_at.
 */
struct direction {
	int in, out;
	uint64_t delay_ns;
	uint64_t ns_per_mib; /* 0: no rate */
	uint64_t queue_ns;   /* the longest wait for a link with a rate */
	uint64_t free_at;
	uint64_t loss; /* so many of 2^32 */
	uint64_t random;
	struct packet *packets;
	uint64_t head, tail;
	char *arena;
	uint32_t arena_len;
	uint32_t write_off;
};

static void die(const char *what)
{
	fprintf(stderr, "tunlink: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* An offset with PACKET_MAX free bytes behind it, or -1 while the queue is full. */
static int64_t direction_room(struct direction *d)
{
	uint32_t first = d->packets[d->tail % NPACKETS].off;

	if (d->head == d->tail)
		return d->write_off = 0;
	if (d->head - d->tail == NPACKETS)
		return -1;
	if (d->write_off > first) {
		if (d->write_off + PACKET_MAX <= d->arena_len)
			return d->write_off;
		return first > PACKET_MAX ? 0 : -1;
	}
	return first - d->write_off > PACKET_MAX ? (int64_t)d->write_off : -1;
}

/* Whether this packet gets lost: by chance, or because the queue is too long. */
static bool direction_drops(struct direction *d, uint64_t now)
{
	d->random = d->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return d->random >> 32 < d->loss || (d->ns_per_mib && d->free_at > now + d->queue_ns);
}

/* Takes what has arrived, at most BATCH packets; says whether there was anything. */
static bool direction_receive(struct direction *d)
{
	int n;

	for (n = 0; n < BATCH; n++) {
		int64_t off = direction_room(d);
		struct packet *p = &d->packets[d->head % NPACKETS];
		uint64_t now;
		ssize_t len;

		if (off < 0)
			break;
		len = read(d->in, d->arena + off, PACKET_MAX);
		if (len <= 0)
			break;
		now = now_ns();
		if (direction_drops(d, now))
			continue;
		if (d->free_at < now)
			d->free_at = now;
		d->free_at += (uint64_t)len * d->ns_per_mib >> 20;
		*p = (struct packet){ .due = d->free_at + d->delay_ns,
				      .off = (uint32_t)off,
				      .len = (uint32_t)len };
		d->write_off = (uint32_t)(off + len);
		d->head++;
	}
	return n > 0;
}

/* Hands on what is due. A packet that the other side refuses is lost, as on any link. */
static void direction_send(struct direction *d)
{
	uint64_t now = now_ns();

	while (d->tail != d->head) {
		struct packet *p = &d->packets[d->tail % NPACKETS];

		if (p->due > now)
			break;
		if (write(d->out, d->arena + p->off, p->len) < 0 && errno == EBADFD)
			die("device");
		d->tail++;
	}
}

static void direction_wait(struct direction *d)
{
	struct pollfd pfd = { .fd = direction_room(d) < 0 ? -1 : d->in, .events = POLLIN };
	uint64_t due = d->packets[d->tail % NPACKETS].due, now = now_ns();
	uint64_t left = due > now ? due - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(left / 1000000000u),
			       .tv_nsec = (long)(left % 1000000000u) };

	ppoll(&pfd, 1, d->head == d->tail ? NULL : &ts, NULL);
}

static void *direction_run(void *arg)
{
	struct direction *d = arg;

	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		direction_send(d);
		if (!direction_receive(d))
			direction_wait(d);
	}
	return NULL;
}

static void set_address(int sock, struct ifreq *ifr, unsigned long request, const char *address)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };

	inet_pton(AF_INET, address, &sin.sin_addr);
	memcpy(&ifr->ifr_addr, &sin, sizeof sin);
	if (ioctl(sock, request, ifr) < 0)
		die("address");
}

static void set_up(int sock, struct ifreq *ifr)
{
	ifr->ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(sock, SIOCSIFFLAGS, ifr) < 0)
		die("interface up");
}

static int tun_open(const char *address, const char *peer, bool small)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "link0" }, lo = { .ifr_name = "lo" };

	if (fd < 0 || sock < 0)
		die("/dev/net/tun");
	ifr.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		die("TUNSETIFF");
	if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | (small ? 0 : TUN_F_TSO4 | TUN_F_TSO6)) < 0)
		die("TUNSETOFFLOAD");
	set_address(sock, &ifr, SIOCSIFADDR, address);
	set_address(sock, &ifr, SIOCSIFDSTADDR, peer);
	ifr.ifr_qlen = 10000;
	if (ioctl(sock, SIOCSIFTXQLEN, &ifr) < 0)
		die("queue length");
	set_up(sock, &ifr);
	set_up(sock, &lo);
	close(sock);
	return fd;
}

/* /proc/sys/net shows the namespace of whoever looks. */
static void set_congestion_control(const char *name)
{
	int fd = open("/proc/sys/net/ipv4/tcp_congestion_control", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, name, strlen(name)) < 0)
		die("congestion control");
	close(fd);
}

/* A fresh network namespace, in which this thread then is; the descriptor keeps and names it. */
static int netns_new(const char *congestion)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		die("network namespace");
	set_congestion_control(congestion);
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("/proc/thread-self/ns/net");
	return fd;
}

static void direction_start(struct direction *d, pthread_t *thread)
{
	d->packets = calloc(NPACKETS, sizeof *d->packets);
	d->arena = malloc(d->arena_len);
	if (!d->packets || !d->arena)
		die("memory");
	errno = pthread_create(thread, NULL, direction_run, d);
	if (errno)
		die("thread");
}

static double number(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text || value < 0) {
		fprintf(stderr, "tunlink: not a number: '%s'\n", text);
		exit(2);
	}
	return value;
}

static struct {
	const char *congestion;
	double rtt_ms, mbit, loss, queue_ms, queue_mib;
} how = { .congestion = "reno", .rtt_ms = 20, .queue_ms = 100, .queue_mib = 32 };

static void parse_arguments(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "d:r:l:w:q:c:")) != -1) {
		if (c == 'd')
			how.rtt_ms = number(optarg);
		else if (c == 'r')
			how.mbit = number(optarg);
		else if (c == 'l')
			how.loss = number(optarg);
		else if (c == 'w')
			how.queue_ms = number(optarg);
		else if (c == 'q')
			how.queue_mib = number(optarg);
		else if (c == 'c')
			how.congestion = optarg;
		else {
			fprintf(stderr,
				"usage: tunlink [-d RTT_MS] [-r MBIT_PER_S [-w QUEUE_MS]] [-l LOSS_PERCENT] "
				"[-q MEMORY_MIB] [-c CONGESTION_CONTROL]\n");
			exit(2);
		}
	}
}

static struct direction direction_make(int in, int out)
{
	return (struct direction){
		.in = in,
		.out = out,
		.delay_ns = (uint64_t)(how.rtt_ms * 1e6 / 2),
		.ns_per_mib = how.mbit > 0 ? (uint64_t)(8.388608e9 / how.mbit) : 0,
		.queue_ns = (uint64_t)(how.queue_ms * 1e6),
		.loss = (uint64_t)(how.loss / 100 * 4294967296.0),
		.random = (uint64_t)in,
		.arena_len = (uint32_t)(how.queue_mib * 1048576),
	};
}

int main(int argc, char **argv)
{
	struct direction up, down;
	pthread_t up_thread, down_thread;
	int near_ns, far_ns, near_tun, far_tun;

	parse_arguments(argc, argv);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	near_ns = netns_new(how.congestion);
	near_tun = tun_open(NEAR_ADDR, FAR_ADDR, how.loss > 0);
	far_ns = netns_new(how.congestion);
	far_tun = tun_open(FAR_ADDR, NEAR_ADDR, how.loss > 0);
	up = direction_make(near_tun, far_tun);
	down = direction_make(far_tun, near_tun);
	direction_start(&up, &up_thread);
	direction_start(&down, &down_thread);

	printf("near=/proc/%d/fd/%d near_addr=%s far=/proc/%d/fd/%d far_addr=%s\n", getpid(),
	       near_ns, NEAR_ADDR, getpid(), far_ns, FAR_ADDR);
	fflush(stdout);
	pthread_join(up_thread, NULL);
	return 1;
}
