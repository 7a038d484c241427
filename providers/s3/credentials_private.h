/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the sources of access keys share: the chain, one fetch over it, and the errors of one. A source gives
 * 0 and keys; -ENODATA when it is not set up, having said why by s3_fetch_skip(); any other code when it
 * is and failed, with the error filled.
 */
#ifndef PROVIDERS_S3_CREDENTIALS_PRIVATE_H
#define PROVIDERS_S3_CREDENTIALS_PRIVATE_H

#include "base/sync.h"
#include "s3/aws_config.h"
#include "s3/credentials.h"

enum s3_env {
	S3_ENV_ACCESS_KEY,
	S3_ENV_SECRET_KEY,
	S3_ENV_TOKEN,
	S3_ENV_PROFILE,
	S3_ENV_CONFIG_FILE,
	S3_ENV_CREDENTIALS_FILE,
	S3_ENV_REGION,
	S3_ENV_DEFAULT_REGION,
	S3_ENV_CA_BUNDLE,
	S3_ENV_ENDPOINT,
	S3_ENV_ENDPOINT_S3,
	S3_ENV_ENDPOINT_STS,
	S3_ENV_ENDPOINT_SSO,
	S3_ENV_IGNORE_ENDPOINTS,
	S3_ENV_ROLE_ARN,
	S3_ENV_ROLE_SESSION,
	S3_ENV_WEB_TOKEN_FILE,
	S3_ENV_CONTAINER_RELATIVE,
	S3_ENV_CONTAINER_FULL,
	S3_ENV_CONTAINER_TOKEN,
	S3_ENV_CONTAINER_TOKEN_FILE,
	S3_ENV_IMDS_DISABLED,
	S3_ENV_IMDS_ENDPOINT,
	S3_ENV_IMDS_MODE,
	S3_ENV_HOME,
	S3_NENVS
};

enum { S3_SOURCE_NAME = 200, S3_ANSWER_MAX = 64 << 10, S3_PROFILES_MAX = 8, S3_TEXTS_MAX = 160 };

struct s3_chain {
	/* fixed after s3_chain_new() and s3_chain_use() */
	char *env[S3_NENVS]; /* secret memory, NULL: not set, or empty */
	char *home;
	char *config_path;
	char *credentials_path;
	char *profile; /* of the option or the environment, else "default" */
	bool named;    /* one of these names it */
	bool by_option;
	bool anonymous;
	char *region;
	char *endpoint;
	char *ca_bundle;
	struct http_settings *settings; /* counted */
	struct http_settings *direct;   /* counted; no proxy */

	/* what tests change before the first fetch */
	time_t (*now)(void);
	uint64_t retry_ns;    /* the first pause of a question that is asked again */
	uint64_t metadata_ns; /* for one question to IMDS */
	uint64_t process_ns;  /* for a credential_process */
	unsigned metadata_tries;

	struct mutex lock;
	struct cond changed;
	struct s3_credentials *keys; /* lock: lock; counted, NULL: none */
	time_t fetched;              /* lock: lock; when they came */
	bool fetching;               /* lock: lock */
	unsigned generation;         /* lock: lock; fetches that have ended */
	struct vmofs_err failure;    /* lock: lock; of the last one, code 0: none */
	uint64_t failed_until_ns;    /* lock: lock; nobody asks again before */
	char source[S3_SOURCE_NAME]; /* lock: lock */
};

/* One fetch; on one thread's stack. */
struct s3_fetch {
	struct s3_chain *c;
	const atomic_bool *cancel; /* may be NULL */
	struct vmofs_err *err;
	struct aws_config config;      /* secret memory */
	struct aws_config credentials; /* secret memory */
	char *texts[S3_TEXTS_MAX];     /* secret memory, freed at the end */
	unsigned ntexts;
	const char *profiles[S3_PROFILES_MAX]; /* that are being resolved, outermost first */
	unsigned nprofiles;
	char tried[640];             /* why sources gave nothing */
	char source[S3_SOURCE_NAME]; /* of the keys */
};

/* -- credentials_fetch.c: what each source needs ---------------------------------------------- */

int s3_fetch_begin(struct s3_fetch *f, struct s3_chain *c, const atomic_bool *cancel,
		   struct vmofs_err *err);
void s3_fetch_end(struct s3_fetch *f);
/* Keeps @text (secret memory, may be NULL) until the end and returns it; NULL: no room. */
const char *s3_fetch_keep(struct s3_fetch *f, char *text);
/* A text of the fetch's, NULL: no memory, or longer than 32 KiB. */
const char *s3_fetch_text(struct s3_fetch *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Notes why a source is not the one; -ENODATA. */
int s3_fetch_skip(struct s3_fetch *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A setting of a profile: the credentials file, then the configuration file. NULL: not there. */
const char *s3_fetch_setting(struct s3_fetch *f, const char *profile, const char *key);
bool s3_fetch_has(const struct s3_fetch *f, const char *profile, const char *key);
/* endpoint_url for "s3", "sts", "sso": environment, services of @profile, @profile. NULL: none. */
const char *s3_fetch_endpoint(struct s3_fetch *f, const char *profile, const char *service);
/* Of @profile, else of the chain, else us-east-1. */
const char *s3_fetch_region(struct s3_fetch *f, const char *profile);
bool s3_fetch_cancelled(const struct s3_fetch *f);
/* A small file into secret memory of the fetch, without white space at its end; 0, -ENOENT, ... */
int s3_fetch_file(struct s3_fetch *f, const char *path, const char **out, size_t *len);

/* Keys as texts, of any source; borrowed, NULL or "": not there. */
struct s3_key_texts {
	const char *access_key;
	const char *secret_key;
	const char *token;
	const char *expires; /* "2020-06-17T10:02:08Z", or milliseconds since 1970 */
};
/* Checks them; the source is named in the error and, on success, in f->source. */
int s3_fetch_keys(struct s3_fetch *f, const struct s3_key_texts *t, struct s3_credentials **out,
		  const char *source, ...) __attribute__((format(printf, 4, 5)));
/* The members of a JSON answer by their paths, NULL: none of that name. */
int s3_fetch_json_keys(struct s3_fetch *f, const char *p, size_t n, const char *const paths[4],
		       struct s3_key_texts *out);

/* -- credentials_ask.c: questions over HTTP --------------------------------------------------- */

struct s3_ask {
	const char *method;
	const char *url;
	const char *const *headers;
	unsigned nheaders;
	const char *body; /* NULL: none */
	uint64_t timeout_ns;
	unsigned tries;
	bool direct; /* on this machine: no proxy */
};

struct s3_answer {
	int status;
	int64_t date;     /* of the server's clock, 0: not said */
	const char *body; /* terminated; the fetch's, never NULL */
	size_t len;
	char msg[256]; /* why there is none, when there is none */
};

/* 0: an answer of whatever status; -EIO: none, see msg; -ECANCELED, -ENOMEM. */
int s3_ask(struct s3_fetch *f, const struct s3_ask *ask, struct s3_answer *out);

/* -- the sources ------------------------------------------------------------------------------ */

int s3_from_environment(struct s3_fetch *f, struct s3_credentials **out);
int s3_from_profile(struct s3_fetch *f, const char *profile, struct s3_credentials **out);
int s3_from_process(struct s3_fetch *f, const char *profile, const char *command,
		    struct s3_credentials **out);
int s3_from_sso(struct s3_fetch *f, const char *profile, struct s3_credentials **out);
int s3_from_container(struct s3_fetch *f, struct s3_credentials **out);
int s3_from_imds(struct s3_fetch *f, struct s3_credentials **out);

/* What a role needs; texts borrowed, NULL: not there. */
struct s3_role {
	const char *profile; /* that it is of, NULL: the environment */
	const char *arn;
	const char *session;
	const char *external_id;
	const char *duration;
	const char *token_file; /* web identity */
	const char *how;        /* "role", "web identity": for people */
};
int s3_assume_role(struct s3_fetch *f, const struct s3_role *role,
		   const struct s3_credentials *with, struct s3_credentials **out);
int s3_assume_role_web(struct s3_fetch *f, const struct s3_role *role, struct s3_credentials **out);

/* -- credentials_env.c ------------------------------------------------------------------------ */

/*
 * The environment into @env. With @hide, values that are secret are overwritten where they were, so that
 * neither a core file nor /proc/PID/environ has them, and are remembered for the next call.
 */
int s3_environment_read(char *env[S3_NENVS], bool hide);
void s3_environment_release(char *env[S3_NENVS]);
/* Forgets what was hidden. */
void s3_environment_forget(void);
const char *s3_environment_name(enum s3_env e);

#endif
