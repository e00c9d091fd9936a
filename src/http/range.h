/* SPDX-License-Identifier: Apache-2.0
 * http/range.h -- one byte range of a body of known size (RFC 9110 section 14). */
#pragma once

#include "base/util.h"

enum range_verdict {
	RANGE_NONE,          /* no header, another unit, several ranges, or malformed: send it all */
	RANGE_ONE,           /* *ret_first..*ret_last, both inclusive */
	RANGE_UNSATISFIABLE, /* 416 */
};

/* `Range: bytes=first-last | first- | -suffix`. */
enum range_verdict range_parse(const char *value, int64_t size, int64_t *ret_first, int64_t *ret_last);

/* The legacy request header `Content-Range: bytes first-last/total` that old clients send to ask
 * for a part. A total that is not '*' and not @size is unsatisfiable. */
enum range_verdict range_parse_content_range(const char *value, int64_t size, int64_t *ret_first,
					     int64_t *ret_last);
