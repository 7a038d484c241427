/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/layer_text.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/macros.h"

static mode_t type_of(char c)
{
	switch (c) {
	case 'd':
		return S_IFDIR;
	case 'f':
		return S_IFREG;
	case 'l':
		return S_IFLNK;
	case 'c':
		return S_IFCHR;
	case 'b':
		return S_IFBLK;
	case 'p':
		return S_IFIFO;
	case 's':
		return S_IFSOCK;
	default:
		assert(c == 'h');
		return 0;
	}
}

/* One line, cut into words. */
static int entry_of(struct layer_build *b, char *line, int64_t n, struct vmofs_err *err)
{
	char *word[4] = { "", "", "", "" }, *save = NULL;
	struct layer_entry e = { .mtime = n };
	unsigned n_words = 0;

	for (char *w = strtok_r(line, " ", &save); w && n_words < 4; w = strtok_r(NULL, " ", &save))
		word[n_words++] = w;
	e.mode = type_of(word[0][0]);
	e.name = word[1];
	e.name_len = strlen(word[1]);
	if (S_ISDIR(e.mode)) {
		e.mode |= *word[2] ? (mode_t)strtoul(word[2], NULL, 8) : 0755;
	} else if (S_ISLNK(e.mode) || !e.mode) {
		e.target = word[2];
		e.target_len = strlen(word[2]);
		e.mode |= e.mode ? 0777 : 0;
	} else {
		e.mode |= 0644;
	}
	if (S_ISREG(e.mode)) {
		e.size = strtoull(word[2], NULL, 10);
		e.data = strtoull(word[3], NULL, 10);
	} else if (S_ISCHR(e.mode) || S_ISBLK(e.mode)) {
		e.major = (uint32_t)strtoul(word[2], NULL, 10);
		e.minor = (uint32_t)strtoul(word[3], NULL, 10);
	}
	return layer_build_entry(b, &e, err);
}

int layer_text_entries(struct layer_build *b, const char *text, struct vmofs_err *err)
{
	int64_t n = 1;

	for (const char *end; *text; text = end + 1, n++) {
		char *line;
		int r;

		end = strchrnul(text, '\n');
		line = strndup(text, (size_t)(end - text));
		assert(line && *end);
		r = entry_of(b, line, n, err);
		free(line);
		if (r < 0)
			return r;
	}
	return 0;
}

int layer_text_index(struct layer_index *x, const char *text, struct vmofs_err *err)
{
	struct layer_id id = { .data_size = GIB(1024), .blob_size = GIB(1) };
	struct layer_build *b;
	void *p = NULL;
	size_t len;
	int r;

	r = layer_build_new(&b, LAYER_LAYOUT_TAR, NULL);
	assert(r == 0);
	r = layer_text_entries(b, text, err);
	if (r == 0)
		r = layer_build_end(b, &id, &p, &len, err);
	layer_build_free(b);
	if (r == 0)
		r = layer_index_check(x, p, len, err);
	if (r < 0)
		free(p);
	return r;
}

static void dump_inode(FILE *out, const struct layer_index *x, const struct layer_inode *i,
		       const char *path)
{
	static const char types[] = "?pc?d?b?f?l?s???";

	if (i->flags & LAYER_WHITEOUT) {
		fprintf(out, "w %s\n", path);
		return;
	}
	fprintf(out, "%c %s %o %u %lld", types[i->mode >> 12], path, i->mode & 07777u, i->nlink,
		(long long)i->mtime);
	if (S_ISREG(i->mode))
		fprintf(out, " %llu", (unsigned long long)i->size);
	else if (S_ISLNK(i->mode))
		fprintf(out, " %s", layer_target(x, i));
	else if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
		fprintf(out, " %u %u", major(i->data), minor(i->data));
	else if (i->flags & (LAYER_OPAQUE | LAYER_IMPLIED))
		fprintf(out, " %s%s", i->flags & LAYER_OPAQUE ? "o" : "",
			i->flags & LAYER_IMPLIED ? "i" : "");
	fputc('\n', out);
}

static void dump_dir(FILE *out, const struct layer_index *x, uint32_t ino, const char *path)
{
	const struct layer_inode *dir = layer_inode(x, ino);

	for (uint32_t k = dir->first; k < dir->first + dir->n; k++) {
		const struct layer_dirent *d = &x->dirents[k];
		const struct layer_inode *i = layer_inode(x, d->ino);
		char *below = NULL;

		assert(asprintf(&below, "%s%s", path, layer_name(x, d)) > 0);
		dump_inode(out, x, i, below);
		if (S_ISDIR(i->mode)) {
			char *slash = NULL;

			assert(asprintf(&slash, "%s/", below) > 0);
			dump_dir(out, x, d->ino, slash);
			free(slash);
		}
		free(below);
	}
}

char *layer_text_dump(const struct layer_index *x)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert(out);
	dump_inode(out, x, layer_inode(x, LAYER_ROOT), "/");
	dump_dir(out, x, LAYER_ROOT, "");
	fclose(out);
	return text;
}
