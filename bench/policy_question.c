/* SPDX-License-Identifier: Apache-2.0
 * bench/policy_question.c -- what it costs to ask a rule:
 *
 *     bench_policy COUNT [POLICY_FILE]
 *
 * Asks get_image COUNT times about a public image with eight properties, as a member of another project, and
 * prints the nanoseconds of processor time that one question takes. The answer has to be yes. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "access/policy.h"
#include "base/err.h"
#include "base/util.h"

static const char *const roles[] = {"member", "reader", NULL};
static const struct who caller = {
	.roles = ROLE_MEMBER | ROLE_READER, .role_names = roles, .user_id = "u", .project_id = "his"};

static struct image_property properties[] = {{"os_distro", "debian"},    {"os_version", "12"},
					     {"hw_disk_bus", "virtio"},  {"hw_vif_model", "virtio"},
					     {"hw_machine_type", "q35"}, {"hw_rng_model", "virtio"},
					     {"architecture", "x86_64"}, {"build_id", "7"}};

static double used_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double ask(struct policy *policy, unsigned long count)
{
	struct image image;
	struct policy_target target = {.image = &image};
	unsigned long n_yes = 0;
	double began;

	image_init(&image);
	image.owner = "somebody's";
	image.visibility = IMAGE_PUBLIC;
	image.disk_format = "raw";
	image.properties = properties;
	image.n_properties = sizeof(properties) / sizeof(*properties);
	began = used_ns();
	for (unsigned long i = 0; i < count; i++)
		n_yes += policy_allows(policy, POLICY_GET_IMAGE, &caller, &target);
	return n_yes == count && count ? (used_ns() - began) / (double)count : -1;
}

int main(int argc, char **argv)
{
	struct policy_config config = {.file = argc > 2 ? argv[2] : NULL};
	AUTO(policy_free_p) struct policy *policy = NULL;
	struct err err = {0};
	double ns;

	if (argc < 2 || policy_new(&config, &policy, &err) < 0) {
		(void)fprintf(stderr, "bench_policy: %s\n", argc < 2 ? "COUNT [POLICY_FILE]" : err.text);
		return 1;
	}
	ns = ask(policy, strtoul(argv[1], NULL, 10));
	if (ns < 0) {
		(void)fputs("bench_policy: the answer is no\n", stderr);
		return 1;
	}
	(void)printf("%.1f\n", ns);
	return 0;
}
