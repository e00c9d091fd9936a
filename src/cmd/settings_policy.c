/* SPDX-License-Identifier: Apache-2.0
 * cmd/settings_policy.c -- [oslo_policy]: which files there are to be. Where Glance would go on without a file
 * that is configured, and so without the rules in it, this is an error. */
#include <string.h>

#include "base/err.h"
#include "cmd/settings_parts.h"

static const char section[] = "oslo_policy";

static int check_flag(const struct settings *s, const char *name, const char *why, struct err *err)
{
	if (conf_bool(s->conf, section, name))
		return 0;
	return err_set(err, ERR_INVALID, "[oslo_policy] %s = false: %s", name, why);
}

/* In the directory of the configuration file, unless it is absolute. */
static const char *beside(struct settings *s, const char *config_file, const char *name)
{
	const char *slash = strrchr(config_file, '/');

	if (*name == '/' || !slash)
		return name;
	return arena_printf(&s->arena, "%.*s/%s", (int)(slash - config_file), config_file, name);
}

static int load_file(struct settings *s, const char *config_file, struct err *err)
{
	struct policy_config *c = &s->policy;

	c->file = beside(s, config_file, conf_str(s->conf, section, "policy_file"));
	if (!c->file)
		return err_nomem(err);
	c->file_may_be_absent = !conf_is_set(s->conf, section, "policy_file");
	if (!c->file_may_be_absent)
		return 0;
	c->other_file = beside(s, config_file, "policy.json");
	return c->other_file ? 0 : err_nomem(err);
}

static int load_dirs(struct settings *s, const char *config_file, struct err *err)
{
	size_t n;
	const char *const *names = conf_list(s->conf, section, "policy_dirs", &n);
	const char **dirs = arena_alloc(&s->arena, (n + 1) * sizeof(*dirs));

	if (!dirs)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		dirs[i] = beside(s, config_file, names[i]);
		if (!dirs[i])
			return err_nomem(err);
	}
	s->policy.dirs = dirs;
	s->policy.dirs_may_be_absent = !conf_is_set(s->conf, section, "policy_dirs");
	return 0;
}

/* Without a configuration file there is no place for others. */
int settings_policy(struct settings *s, const struct location_args *args, struct err *err)
{
	int r = check_flag(s, "enforce_scope", "there are no rules for tokens that are not of a project", err);

	if (r == 0)
		r = check_flag(s, "enforce_new_defaults",
			       "the old defaults are not there; write into policy_file what you need of them", err);
	if (r == 0 && args->config_file)
		r = load_file(s, args->config_file, err);
	if (r == 0 && args->config_file)
		r = load_dirs(s, args->config_file, err);
	return r;
}
