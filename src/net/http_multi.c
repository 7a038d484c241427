/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl's multi interface on an event loop, and the set of clients of a loop pool.
 *
 * A socket that libcurl opened itself stays in the epoll set between two requests, although libcurl
 * takes its interest back after each: with keep-alive this saves two system calls a request. When
 * such an idle socket does become readable (the server hangs up) it is taken out, and libcurl
 * finds out when it wants to use it. Other descriptors (its resolver's) are followed exactly.
 */
#include "net/http_multi.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "base/sync.h"

#define MAX_IDLE_CONNECTIONS 64L
#define UNACKED_TIMEOUT_MS   6000u /* the peer's host is gone */

struct http_sock {
	struct loop_watch watch;
	struct http_multi *multi;
	bool ours;    /* opened by open_socket(), so close_socket() will come */
	bool watched; /* in the epoll set with watch.events */
	int wanted;   /* CURL_POLL_*, 0: idle */
};

struct http_multi {
	struct loop *loop;
	CURLM *curl;
	struct loop_timer timer;
	bool kick;                /* libcurl wants to run at once */
	struct http_sock **socks; /* by descriptor */
	size_t nsocks;
};

struct http_client {
	struct http_net *net;
	struct loop *loop;
	struct loop_hook hook;
	struct loop_task attach;
	struct http_multi multi;
	struct vmofs_list idle;       /* struct http_easy */
	struct vmofs_list idle_calls; /* struct call_easy */
};

struct http_net {
	struct loop_pool *pool;
	struct mutex lock;
	struct vmofs_list ready; /* lock: lock; struct http_source */
	atomic_uint nready;
	unsigned n;
	struct http_client clients[];
};

struct http_multi *http_client_multi(struct http_client *c)
{
	return &c->multi;
}

struct vmofs_list *http_client_idle(struct http_client *c)
{
	return &c->idle;
}

struct vmofs_list *http_client_idle_calls(struct http_client *c)
{
	return &c->idle_calls;
}

struct loop *http_client_loop(struct http_client *c)
{
	return c->loop;
}

/* -- sockets ---------------------------------------------------------------------------------- */

static void transfer_finished(CURL *curl, CURLcode code)
{
	struct http_transfer *t;

	curl_easy_getinfo(curl, CURLINFO_PRIVATE, &t);
	t->finished(t, curl, code);
}

static void multi_reap(struct http_multi *m)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(m->curl, &left)))
		if (msg->msg == CURLMSG_DONE)
			transfer_finished(msg->easy_handle, msg->data.result);
}

static void multi_act(struct http_multi *m, curl_socket_t fd, int what)
{
	int running;

	curl_multi_socket_action(m->curl, fd, what, &running);
	multi_reap(m);
}

static void sock_unwatch(struct http_sock *s)
{
	if (s->watched)
		loop_watch_del(s->multi->loop, &s->watch);
	s->watched = false;
}

static void sock_ready(struct loop_watch *w, struct loop *l UNUSED, uint32_t events)
{
	struct http_sock *s = container_of(w, struct http_sock, watch);
	int what = 0;

	if (!s->wanted) {
		sock_unwatch(s);
		return;
	}
	if (events & EPOLLIN)
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		what |= CURL_CSELECT_ERR;
	multi_act(s->multi, w->fd, what);
}

static bool multi_grow(struct http_multi *m, size_t fd)
{
	size_t n = MAX(fd + 1, 2 * m->nsocks);
	struct http_sock **socks = realloc(m->socks, n * sizeof *socks);

	if (!socks)
		return false;
	for (size_t i = m->nsocks; i < n; i++)
		socks[i] = NULL;
	m->socks = socks;
	m->nsocks = n;
	return true;
}

/* The record of @fd, made when there is none; NULL without memory. */
static struct http_sock *multi_sock(struct http_multi *m, int fd)
{
	struct http_sock *s;

	if ((size_t)fd >= m->nsocks && !multi_grow(m, (size_t)fd))
		return NULL;
	if (m->socks[fd])
		return m->socks[fd];
	s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->multi = m;
	s->watch.fd = fd;
	s->watch.ready = sock_ready;
	m->socks[fd] = s;
	return s;
}

static void sock_forget(struct http_multi *m, int fd)
{
	struct http_sock *s = (size_t)fd < m->nsocks ? m->socks[fd] : NULL;

	if (!s)
		return;
	sock_unwatch(s);
	m->socks[fd] = NULL;
	free(s);
}

/*
 * Never fails for libcurl: it would take a socket function that does for the end of all transfers of this
 * handle, and refuse new ones as long as one of them lives.
 */
static void sock_watch(struct http_sock *s, uint32_t events)
{
	struct loop *l = s->multi->loop;
	int r;

	if (s->watched && s->watch.events == events)
		return;
	s->watch.events = events;
	r = s->watched ? loop_watch_mod(l, &s->watch, events) : loop_watch_add(l, &s->watch);
	if (r == -ENOENT)
		r = loop_watch_add(l, &s->watch);
	else if (r == -EEXIST)
		r = loop_watch_mod(l, &s->watch, events);
	s->watched = r == 0;
	if (r < 0)
		log_warn("cannot watch a connection, which will end by its stall: %s",
			 strerror(-r));
}

static int on_socket(CURL *easy UNUSED, curl_socket_t fd, int what, void *arg, void *sock UNUSED)
{
	static const uint32_t events[] = {
		[CURL_POLL_IN] = EPOLLIN,
		[CURL_POLL_OUT] = EPOLLOUT,
		[CURL_POLL_INOUT] = EPOLLIN | EPOLLOUT,
	};
	struct http_multi *m = arg;
	struct http_sock *s = multi_sock(m, fd);

	if (!s)
		return -1;
	s->wanted = what == CURL_POLL_REMOVE ? 0 : what;
	if (s->wanted)
		sock_watch(s, events[what]);
	else if (!s->ours)
		sock_forget(m, fd);
	return 0;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose UNUSED, struct curl_sockaddr *addr)
{
	struct http_multi *m = arg;
	int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
	unsigned timeout = UNACKED_TIMEOUT_MS;
	struct http_sock *s;

	if (fd < 0)
		return CURL_SOCKET_BAD;
	if (addr->family == AF_INET || addr->family == AF_INET6)
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
	/* What is known of this number has been closed: libcurl does not tell while it connects. */
	sock_forget(m, fd);
	s = multi_sock(m, fd);
	if (!s) {
		close(fd);
		return CURL_SOCKET_BAD;
	}
	s->ours = true;
	return fd;
}

static int close_socket(void *arg, curl_socket_t fd)
{
	sock_forget(arg, fd);
	return close(fd);
}

/* -- time ------------------------------------------------------------------------------------- */

static int on_timer(CURLM *curl UNUSED, long timeout_ms, void *arg)
{
	struct http_multi *m = arg;

	if (timeout_ms < 0) {
		loop_timer_del(m->loop, &m->timer);
	} else if (timeout_ms == 0) {
		m->kick = true;
		loop_timer_del(m->loop, &m->timer);
	} else {
		loop_timer_set(m->loop, &m->timer,
			       loop_now_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC);
	}
	return 0;
}

static void timer_fire(struct loop_timer *t, struct loop *l UNUSED)
{
	multi_act(container_of(t, struct http_multi, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* -- transfers -------------------------------------------------------------------------------- */

void http_multi_prepare(struct http_multi *m, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, m);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, m);
}

int http_multi_add(struct http_multi *m, CURL *easy)
{
	if (curl_multi_add_handle(m->curl, easy) != CURLM_OK)
		return -ENOMEM;
	m->kick = true;
	loop_wake(m->loop);
	return 0;
}

void http_multi_remove(struct http_multi *m, CURL *easy)
{
	curl_multi_remove_handle(m->curl, easy);
}

/* Everything that wants to run at once: a new request is sent here, in the turn that asked. */
static void multi_kick(struct http_multi *m)
{
	if (!m->kick)
		return;
	m->kick = false;
	multi_act(m, CURL_SOCKET_TIMEOUT, 0);
	if (m->kick)
		loop_wake(m->loop);
}

static int multi_init(struct http_multi *m, struct loop *l)
{
	m->loop = l;
	m->timer.fire = timer_fire;
	m->curl = curl_multi_init();
	if (!m->curl)
		return -ENOMEM;
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
	curl_multi_setopt(m->curl, CURLMOPT_MAXCONNECTS, MAX_IDLE_CONNECTIONS);
	return 0;
}

static void multi_release(struct http_multi *m)
{
	if (m->curl)
		curl_multi_cleanup(m->curl);
	for (size_t i = 0; i < m->nsocks; i++)
		sock_forget(m, (int)i);
	free(m->socks);
}

/* -- sources ---------------------------------------------------------------------------------- */

void http_source_init(struct http_source *s,
		      void (*pump)(struct http_source *s, struct http_client *c))
{
	*s = (struct http_source){ .pump = pump };
	vmofs_list_init(&s->link);
}

static void source_enqueue(struct http_net *n, struct http_source *s) EXCLUDES(n->lock)
{
	mutex_lock(&n->lock);
	if (!s->ready) {
		s->ready = true;
		vmofs_list_add_tail(&n->ready, &s->link);
		atomic_fetch_add(&n->nready, 1);
	}
	mutex_unlock(&n->lock);
}

void http_net_ready(struct http_net *n, struct http_source *s)
{
	source_enqueue(n, s);
	loop_wake(loop_pool_pick(n->pool));
}

void http_net_share(struct http_net *n, struct http_source *s, struct loop *but)
{
	struct loop *l;

	source_enqueue(n, s);
	l = loop_pool_idle(n->pool, but);
	/* One that is about to sleep may have looked already: whoever is told takes another turn. */
	if (!l)
		l = loop_pool_nth(n->pool, (loop_index(but) + 1) % loop_pool_size(n->pool));
	if (l != but)
		loop_wake(l);
}

void http_net_forget(struct http_net *n, struct http_source *s)
{
	mutex_lock(&n->lock);
	if (s->ready) {
		s->ready = false;
		vmofs_list_del(&s->link);
		atomic_fetch_sub(&n->nready, 1);
	}
	mutex_unlock(&n->lock);
}

static struct http_source *source_take(struct http_net *n) EXCLUDES(n->lock)
{
	struct http_source *s;

	if (atomic_load(&n->nready) == 0)
		return NULL;
	mutex_lock(&n->lock);
	s = vmofs_list_first(&n->ready, struct http_source, link);
	if (s) {
		s->ready = false;
		vmofs_list_del(&s->link);
		atomic_fetch_sub(&n->nready, 1);
	}
	mutex_unlock(&n->lock);
	return s;
}

/* The end of a turn. At most as many sources as there are now, so that one cannot hold the loop. */
static void client_turn(struct loop_hook *h, struct loop *l UNUSED)
{
	struct http_client *c = container_of(h, struct http_client, hook);
	unsigned n = atomic_load(&c->net->nready);

	while (n-- > 0) {
		struct http_source *s = source_take(c->net);

		if (!s)
			break;
		s->pump(s, c);
	}
	multi_kick(&c->multi);
}

/* -- the clients of a pool -------------------------------------------------------------------- */

static void client_attach(struct loop_task *t, struct loop *l)
{
	struct http_client *c = container_of(t, struct http_client, attach);

	loop_hook_add(l, &c->hook);
}

static int client_init(struct http_client *c, struct http_net *n, struct loop *l)
{
	c->net = n;
	c->loop = l;
	c->hook.turn = client_turn;
	c->attach.run = client_attach;
	vmofs_list_init(&c->idle);
	vmofs_list_init(&c->idle_calls);
	return multi_init(&c->multi, l);
}

static void net_free(void *it)
{
	struct http_net *n = it;

	for (unsigned i = 0; i < n->n && n->clients[i].loop; i++) {
		http_client_free_idle(&n->clients[i]);
		http_call_free_idle(&n->clients[i]);
		multi_release(&n->clients[i].multi);
	}
	mutex_destroy(&n->lock);
	free(n);
}

static void *net_make(struct loop_pool *pool)
{
	unsigned size = loop_pool_size(pool);
	struct http_net *n = calloc(1, sizeof *n + size * sizeof n->clients[0]);

	if (!n)
		return NULL;
	n->pool = pool;
	n->n = size;
	mutex_init(&n->lock, LOCK_RANK_NET);
	vmofs_list_init(&n->ready);
	for (unsigned i = 0; i < size; i++) {
		if (client_init(&n->clients[i], n, loop_pool_nth(pool, i)) < 0) {
			net_free(n);
			return NULL;
		}
	}
	for (unsigned i = 0; i < size; i++)
		loop_post(n->clients[i].loop, &n->clients[i].attach);
	return n;
}

struct http_net *http_net_of(struct loop_pool *pool)
{
	static const struct loop_service service = { net_make, net_free };

	return http_curl_init() < 0 ? NULL : loop_pool_service(pool, &service);
}

struct http_client *http_net_client(struct http_net *n, const struct loop *l)
{
	return &n->clients[loop_index(l)];
}
