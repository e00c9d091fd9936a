/* SPDX-License-Identifier: Apache-2.0
 * store/inspect/qed.c -- QEMU's QED: known, so that it is not taken for something else, and never taken:
 * nobody runs it, and it can have a backing file. */
#include "store/inspect/format.h"

static bool qed_match(const unsigned char *head, size_t n)
{
	return has_at(head, n, 0, "QED\0", 4);
}

static int qed_look(struct look *l, struct err *err)
{
	return look_refuse(err, "images of the format QED are not taken");
}

const struct format format_qed = {
	.name = "qed",
	.match = qed_match,
	.look = qed_look,
};
