/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of compiled-in providers, expanded from the list that the build makes of the folders
 * here. Constant data, any thread.
 */
#include <string.h>
#include <strings.h>
#include <vmofs/provider.h>
#include <vmofs/source.h>

#define PROVIDER(name) extern const struct vmofs_provider_ops provider_##name;
#include "providers.def"
#undef PROVIDER

#define PROVIDER(name) &provider_##name,
const struct vmofs_provider_ops *const vmofs_providers[] = {
#include "providers.def"
	NULL
};
#undef PROVIDER

static bool has_scheme(const struct vmofs_provider_ops *ops, const char *s, size_t n)
{
	for (const char *const *scheme = ops->schemes; *scheme; scheme++)
		if (strlen(*scheme) == n && strncasecmp(*scheme, s, n) == 0)
			return true;
	return false;
}

/* A plain path has no scheme: it is a file's. */
const struct vmofs_provider_ops *vmofs_provider_find(const char *source)
{
	size_t n = strcspn(source, ":/");
	const char *scheme = source[n] == ':' ? source : "file";

	if (source[n] != ':')
		n = strlen(scheme);
	for (size_t i = 0; vmofs_providers[i]; i++)
		if (has_scheme(vmofs_providers[i], scheme, n))
			return vmofs_providers[i];
	return NULL;
}

const struct vmofs_source_ops *vmofs_source_find(const char *source)
{
	const struct vmofs_provider_ops *p = vmofs_provider_find(source);

	return p && p->tree && p->is_tree(source) ? p->tree : NULL;
}
