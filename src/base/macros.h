/* SPDX-License-Identifier: Apache-2.0 */
/* The few macros that every layer uses, and the cleanup attributes. Header only, no state. */
#ifndef BASE_MACROS_H
#define BASE_MACROS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define BIT(n)                          (1u << (n))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define UNUSED                          __attribute__((unused))
#define KIB(n)                          ((uint64_t)(n) << 10)
#define MIB(n)                          ((uint64_t)(n) << 20)
#define GIB(n)                          ((uint64_t)(n) << 30)
#define NSEC_PER_SEC                    UINT64_C(1000000000)
#define NSEC_PER_MSEC                   UINT64_C(1000000)

/* cleanup(fn): fn(&var) runs when var goes out of scope. */
#define cleanup(fn) __attribute__((cleanup(fn)))

/* Gives the value of *p away and leaves NULL, so that its cleanup does nothing. */
#define steal_ptr(p)                             \
	__extension__({                          \
		__typeof__(*(p)) stolen_ = *(p); \
		*(p) = NULL;                     \
		stolen_;                         \
	})

static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

static inline void fd_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void mem_freep(void *p)
{
	free(*(void **)p);
	*(void **)p = NULL;
}

#define DEFINE_FREEP(type, fn)             \
	static inline void fn##p(type **p) \
	{                                  \
		fn(*p);                    \
		*p = NULL;                 \
	}

#endif
