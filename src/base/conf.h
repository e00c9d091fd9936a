/* SPDX-License-Identifier: Apache-2.0
 * base/conf.h -- the configuration: a glance-api.conf (oslo.config's INI dialect) read against a
 * table of the options there are. As there, [DEFAULT] is upper case, the case of other sections does
 * not matter; "-" in the name of an option is the same as "_". */
#pragma once

#include "util.h"

struct conf;
struct err;

enum conf_type {
	CONF_STRING,
	CONF_INT,    /* min..max of the table; empty counts as not set */
	CONF_BOOL,   /* true/false, yes/no, on/off, 1/0, any case */
	CONF_LIST,   /* comma-separated, blanks trimmed, none empty, "[...]" around it allowed */
	CONF_MULTI,  /* the option may be repeated; every value counts */
	CONF_CHOICE, /* one of `choices` */
	CONF_IGNORED, /* a warning with `help` and nothing else; "abc*" is every name that begins so */
};

struct conf_option {
	const char *section, *name;
	enum conf_type type;
	const char *fallback; /* default, as it would be written; NULL: none */
	const char *help;     /* a sentence or more, for the reference; IGNORED: why, and what to do instead */
	int64_t min, max;     /* CONF_INT; both 0: no bound */
	const char *choices;  /* CONF_CHOICE: "a|b|c" */
	const char *unit;     /* CONF_INT: "seconds"; NULL: a plain number */
};

/* Called for each warning: an unknown option, an ignored one. @line is 1-based, 0 if none. */
typedef void conf_warn_fn(void *cls, const char *path, unsigned line, const char *message);

/* An empty configuration over @options, a table that ends with a NULL section and outlives it.
 * After an error of any function that takes a struct err it is only good for conf_free(). */
int conf_new(const struct conf_option *options, struct conf **ret, struct err *err);
void conf_free(struct conf *c);
void conf_free_p(struct conf **c);

/* Read @path. A syntax error or a bad value is an error that names file and line; an unknown
 * option, and one that is ignored, is a warning (@warn may be NULL). "$name" and "${section.name}" in
 * values are replaced as oslo.config does. A later file wins over an earlier one. */
int conf_read(struct conf *c, const char *path, conf_warn_fn *warn, void *cls, struct err *err);

/* The same from memory; @path is what messages call it. */
int conf_read_text(struct conf *c, const char *path, const char *text, size_t n, conf_warn_fn *warn, void *cls,
		   struct err *err);

/* As if the option stood in the file. The command line uses it. */
int conf_set(struct conf *c, const char *section, const char *name, const char *value, struct err *err);

/* Getters. Asking for an option that is not in the table, or as another type, is a bug (assert).
 * Strings are borrowed from @c and stay; NULL if unset and without default. conf_str() is for STRING
 * and CHOICE. Safe from several threads as long as none changes @c. */
const char *conf_str(const struct conf *c, const char *section, const char *name);
int64_t conf_int(const struct conf *c, const char *section, const char *name);
bool conf_bool(const struct conf *c, const char *section, const char *name);
/* LIST and MULTI: the values, *ret_n of them, then a NULL. Never NULL itself. */
const char *const *conf_list(const struct conf *c, const char *section, const char *name, size_t *ret_n);
bool conf_is_set(const struct conf *c, const char *section, const char *name); /* not by default */

/* Sections named in `enabled_backends` are the operator's own: let the options of section @like
 * be valid in section @section too. What was already read counts: to learn the names, read the file
 * without @warn, alias, then call conf_warn_unknown(). */
int conf_alias_section(struct conf *c, const char *section, const char *like, struct err *err);

/* Section of the @i-th option read so far that belongs to no known section or is unknown there; NULL: there are no
 * more. To find sections that are the operator's own by how their names begin. Borrowed. */
const char *conf_stray_section(const struct conf *c, size_t i);

/* A warning for each option read so far that is unknown or ignored, in the order of the files. */
void conf_warn_unknown(const struct conf *c, conf_warn_fn *warn, void *cls);
