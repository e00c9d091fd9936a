/* SPDX-License-Identifier: Apache-2.0
 * api/paging.c -- what lists share: the parameters of the request, and links to other pages. */
#include <string.h>

#include "api/internal.h"

static void add_url_encoded(struct buf *out, const char *s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (; *s; s++) {
		unsigned char ch = (unsigned char)*s;

		if (strchr("_.-~", ch) || (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z')) {
			buf_addc(out, (char)ch);
		} else if (ch == ' ') {
			buf_addc(out, '+');
		} else {
			buf_addc(out, '%');
			buf_addc(out, hex[ch >> 4]);
			buf_addc(out, hex[ch & 15]);
		}
	}
}

void paging_link(struct jsonw *w, const char *key, const struct call *c, const char *path, const char *marker)
{
	AUTO(buf_done) struct buf url = {0};
	char separator = '?';
	size_t n;
	const struct http_pair *params = http_query(c->req, &n);

	buf_adds(&url, path);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(params[i].name, "marker") == 0)
			continue;
		buf_addc(&url, separator);
		add_url_encoded(&url, params[i].name);
		buf_addc(&url, '=');
		add_url_encoded(&url, params[i].value);
		separator = '&';
	}
	if (marker) {
		buf_addc(&url, separator);
		buf_adds(&url, "marker=");
		buf_adds(&url, marker);
	}
	w->out->failed |= url.failed;
	jsonw_key(w, key);
	jsonw_str(w, buf_cstr(&url));
}

const struct query_param *paging_params(struct call *c, size_t *ret_n)
{
	const struct http_pair *pairs = http_query(c->req, ret_n);
	struct query_param *params = arena_alloc(c->arena, (*ret_n + 1) * sizeof(*params));

	for (size_t i = 0; params && i < *ret_n; i++)
		params[i] = (struct query_param){pairs[i].name, pairs[i].value};
	return params;
}
