/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the read-ahead share. Everything here is under the set's lock. */
#ifndef FS_STREAM_PRIVATE_H
#define FS_STREAM_PRIVATE_H

#include "base/macros.h"
#include "fs/stream.h"

/* The window of a stream that has just begun, and the least of one. */
#define STREAM_WINDOW_MIN KIB(64)

/*
 * A sequential stream lives in coordinates in which it goes upwards: those of one that goes down are counted from the
 * end of the file (stream_flip()). So all rules are there once.
 */
struct stream_seq {
	uint64_t start;      /* where its reads began */
	uint64_t end;        /* where its reads have come to */
	uint64_t served;     /* where their answers have come to */
	uint64_t asked_from; /* nothing before has been asked for ahead */
	uint64_t ahead;      /* what has been asked for up to here */
	uint64_t window;     /* bytes to keep asked for beyond end */
	/* The window grows again when served has come to grown_end and a read beyond grown_at stalls. */
	uint64_t grown_end;
	uint64_t grown_at;
	uint64_t rests_until; /* no growth before so many bytes were read */
	uint64_t bytes;       /* read so far */
	uint64_t last;        /* where the last read began */
	uint64_t dropped;     /* what lies before has been let go */
	bool stalled;         /* it had to wait */
	bool proven;          /* has read a window of what was asked for ahead */
	uint64_t used;        /* of what was asked for ahead, since the trust last grew */
	uint64_t recent;      /* bytes read lately, and bytes left out lately */
	uint64_t gaps;
};

/* Pieces of one length at a constant distance. */
struct stream_stride {
	uint64_t first;   /* where the first piece began */
	uint64_t n_steps; /* from there to the last one */
	uint64_t at;      /* where the last piece begins, by the rule */
	int64_t step;     /* from one to the next; may be negative, never 0 */
	uint64_t piece;   /* length of one */
	uint64_t jitter;  /* how far beside the rule they lie */
	uint64_t n_read;  /* pieces so far */
	uint64_t depth;   /* pieces to keep asked for */
	uint64_t ahead;   /* pieces beyond the last one that have been asked for */
};

struct stream {
	uint64_t id;   /* 0: a free place */
	uint64_t tick; /* of the last read */
	bool down;     /* sequential: towards the beginning of the file */
	bool strided;
	bool left;       /* its reader seems to have gone */
	uint64_t unread; /* bytes that were fetched for it and that nobody has read yet */
	struct stream_seq seq;
	struct stream_stride stride;
};

/* Reads that followed each other in one place. */
struct stream_run {
	uint64_t start;
	uint64_t end; /* 0: a free place */
	uint64_t bytes;
	uint32_t n_up; /* reads that continued it at its end */
	uint16_t n_down;
	bool promoted; /* a stream has come of it */
};

enum { STREAM_RUNS_MIN = 16, STREAM_RUNS_MAX = 128, STREAM_TRUST_MAX = 128, STREAM_TRUST_UNIT = 8 };

struct stream_state {
	struct stream *streams;  /* owned */
	unsigned n_streams;      /* places */
	struct stream_run *runs; /* owned; the last ones, in a ring */
	unsigned n_runs;         /* a power of two */
	uint64_t next_run;       /* counts without end */
	uint64_t tick;           /* counts reads */
	uint64_t last_id;
	/*
	 * How many times of what a stream has read may be fetched ahead of it, in eighths: halved by each reader who leaves
	 * much unread, doubled by each window that is read.
	 */
	unsigned trust;
};

/* stream.c */
/* @off as the start of a range of @len in the coordinates of a stream that goes @down, and back again. */
uint64_t stream_flip(const struct stream_set *s, bool down, uint64_t off, uint64_t len);
/* A place for a new stream, which has been zeroed and named; NULL without memory. */
struct stream *stream_new_locked(struct stream_set *s) REQUIRES(s->lock);
unsigned stream_n_active_locked(const struct stream_set *s) REQUIRES(s->lock);
/* For a window, which all readers of the file share. */
uint64_t stream_window_max_locked(const struct stream_set *s) REQUIRES(s->lock);

/* stream_run.c */
/* A read that no stream owns. The stream that it makes of its run, or NULL. */
struct stream *stream_run_read_locked(struct stream_set *s, uint64_t off, uint64_t len,
				      enum stream_how how) REQUIRES(s->lock);
/* Runs that may become streams. */
unsigned stream_n_runs_locked(const struct stream_set *s) REQUIRES(s->lock);
/* Whether [off, end) lies within a run that is no stream. */
bool stream_run_has_locked(const struct stream_set *s, uint64_t off, uint64_t end)
	REQUIRES(s->lock);

/* stream_window.c: sequential streams */
void stream_seq_begin_locked(struct stream_set *s, struct stream *st, const struct stream_run *run,
			     enum stream_how how) REQUIRES(s->lock);
/* How far a read lies from where the stream is; UINT64_MAX: it belongs elsewhere. */
uint64_t stream_seq_distance(const struct stream_set *s, const struct stream *st, uint64_t off,
			     uint64_t len);
void stream_seq_read_locked(struct stream_set *s, struct stream *st, uint64_t off, uint64_t len,
			    enum stream_how how) REQUIRES(s->lock);
void stream_seq_next_locked(struct stream_set *s, struct stream *st, struct stream_ask *ask)
	REQUIRES(s->lock);
void stream_seq_refused(struct stream *st, uint64_t refused);
/* More is left out than read: its reads are no sequence any more. */
bool stream_seq_is_sparse(const struct stream *st);

/* stream_behind.c */
/* What a sequential stream leaves behind, and may go now. */
void stream_behind_locked(struct stream_set *s, struct stream *st, struct stream_piece *out)
	REQUIRES(s->lock);

/* stream_stride.c */
/* Whether a run that begins at @off is the next of a row; then @out is that row. */
bool stream_stride_begin_locked(struct stream_set *s, uint64_t off, struct stream_stride *out)
	REQUIRES(s->lock);
uint64_t stream_stride_distance(const struct stream *st, uint64_t off);
void stream_stride_read_locked(struct stream_set *s, struct stream *st, uint64_t off, uint64_t len,
			       enum stream_how how) REQUIRES(s->lock);
void stream_stride_next_locked(struct stream_set *s, struct stream *st, struct stream_ask *ask)
	REQUIRES(s->lock);

#endif
