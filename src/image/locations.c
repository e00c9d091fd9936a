/* SPDX-License-Identifier: Apache-2.0
 * image/locations.c -- a PATCH may say where the data of an image lies.
 *
 * (1) An image that has data never loses the last place where it is, nor gets a list in exchange for its own.
 * (2) What `validation_data` says of the data becomes the image's, if nothing else is known; whoever reads
 * the data holds it against that. */
#include "image/locations.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

#define MD5_DIGITS 32

/* -- validation_data ------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	size_t n_digits;
} algorithms[] = {
	{"md5", 32},      {"sha1", 40},      {"sha224", 56},   {"sha256", 64},
	{"sha384", 96},   {"sha512", 128},   {"sha3_224", 56}, {"sha3_256", 64},
	{"sha3_384", 96}, {"sha3_512", 128}, {"blake2s", 64},  {"blake2b", 128},
};

static size_t digits_of(const char *algorithm)
{
	for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
		if (strcmp(algorithms[i].name, algorithm) == 0)
			return algorithms[i].n_digits;
	return 0;
}

static int check_digits(const char *name, const char *text, size_t n_digits, int code, struct err *err)
{
	size_t n = strspn(text, "0123456789abcdefABCDEF");

	if (text[n] != '\0')
		return err_set(err, code, "The %s in validation_data is not a hexadecimal number.", name);
	if (n_digits > 0 && n != n_digits)
		return err_set(err, code, "The %s in validation_data has %zu digits; there should be %zu.",
			       name, n, n_digits);
	return 0;
}

static const char *lower(struct arena *a, const char *text)
{
	char *copy = arena_strdup(a, text);

	for (char *p = copy; p && *p; p++)
		if (*p >= 'A' && *p <= 'F')
			*p = (char)(*p - 'A' + 'a');
	return copy;
}

/* A text, or NULL where there is none. */
static int member(const json_t *data, const char *name, size_t min, size_t max, const char **ret,
		  struct err *err)
{
	const json_t *value = json_object_get(data, name);

	*ret = json_string_value(value);
	if (value &&
	    (!*ret || strlen(*ret) != json_string_length(value) || strlen(*ret) < min || strlen(*ret) > max))
		return err_set(err, ERR_INVALID,
			       "The %s in validation_data has to be a string of %zu to %zu characters.", name,
			       min, max);
	return 0;
}

static int check_shape(const json_t *data, struct err *err)
{
	size_t n_known = json_object_get(data, "checksum") ? 1 : 0;

	if (!json_is_object(data) || !json_object_get(data, "os_hash_algo") ||
	    !json_object_get(data, "os_hash_value"))
		return err_set(err, ERR_INVALID,
			       "validation_data is an object with an os_hash_algo and an os_hash_value.");
	if (json_object_size(data) != n_known + 2)
		return err_set(err, ERR_INVALID,
			       "validation_data has an os_hash_algo, an os_hash_value and a checksum, "
			       "nothing else.");
	return 0;
}

/* @ret_new: what is said and not known yet. */
static int compare(const char *name, const char *said, const char *known, int code, const char **ret_new,
		   struct err *err)
{
	*ret_new = NULL;
	if (!said)
		return 0;
	if (known && strcasecmp(said, known) != 0)
		return err_set(err, code, "The image has another %s already.", name);
	*ret_new = known ? NULL : said;
	return 0;
}

struct expectation {
	const char *checksum, *algo, *value;
};

static int read_expectation(const json_t *data, const struct image *img, int code, struct expectation *ret,
			    struct err *err)
{
	struct expectation said = {0};
	int r = member(data, "checksum", MD5_DIGITS, MD5_DIGITS, &said.checksum, err);

	if (r == 0)
		r = member(data, "os_hash_algo", 0, 64, &said.algo, err);
	if (r == 0)
		r = member(data, "os_hash_value", 0, 128, &said.value, err);
	if (r == 0)
		r = compare("checksum", said.checksum, img->checksum, code, &ret->checksum, err);
	if (r == 0)
		r = compare("os_hash_algo", said.algo, img->os_hash_algo, code, &ret->algo, err);
	return r < 0 ? r : compare("os_hash_value", said.value, img->os_hash_value, code, &ret->value, err);
}

static int check_expectation(const struct expectation *e, const char *hash_algorithm, int code,
			     struct err *err)
{
	int r = e->checksum ? check_digits("checksum", e->checksum, MD5_DIGITS, code, err) : 0;

	if (r < 0)
		return r;
	if (!e->algo || !e->value)
		return err_set(err, code,
			       "The os_hash_algo and the os_hash_value of the image do not go together.");
	if (strcmp(e->algo, hash_algorithm) != 0)
		return err_set(err, code, "The os_hash_algo in validation_data has to be %s.",
			       hash_algorithm);
	return check_digits("os_hash_value", e->value, digits_of(e->algo), code, err);
}

int locations_expect(const json_t *data, const char *hash_algorithm, int code, struct arena *a,
		     struct image *img, struct err *err)
{
	struct expectation e = {0};
	int r;

	if (!data)
		return 0;
	r = check_shape(data, err);
	if (r == 0)
		r = read_expectation(data, img, code, &e, err);
	if (r < 0 || (!e.checksum && !e.algo && !e.value))
		return r; /* nothing new */
	if (img->status != IMAGE_QUEUED)
		return err_set(err, code,
			       "What validation_data says can only be set while the image is queued.");
	r = check_expectation(&e, hash_algorithm, code, err);
	if (r < 0)
		return r;
	if (e.checksum)
		img->checksum = lower(a, e.checksum);
	img->os_hash_algo = arena_strdup(a, e.algo);
	img->os_hash_value = lower(a, e.value);
	return img->os_hash_algo && img->os_hash_value && (img->checksum || !e.checksum) ? 0 : err_nomem(err);
}

/* -- the list ------------------------------------------------------------------------------------- */

static int check_state(const struct image *img, bool removes, struct err *err)
{
	if (img->status == IMAGE_ACTIVE || (img->status == IMAGE_QUEUED && !removes))
		return 0;
	return err_set(err, ERR_CONFLICT, "The locations of an image that is %s cannot be changed like that.",
		       image_status_name(img->status));
}

static int no_place(struct err *err)
{
	return err_set(err, ERR_INVALID, "There is no such place in the list of locations.");
}

/* A number, or "-", which stands for @end. One beyond that is @end as well if @clamp. */
static int find_place(const char *text, size_t end, bool clamp, size_t *ret, struct err *err)
{
	size_t n = 0;

	if (strcmp(text, "-") == 0) {
		*ret = end;
		return 0;
	}
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return no_place(err);
		if (n <= end)
			n = n * 10 + (size_t)(*p - '0');
	}
	if (!*text || (n > end && !clamp))
		return no_place(err);
	*ret = n < end ? n : end;
	return 0;
}

static int make_location(const json_t *value, struct arena *a, struct image_location *ret, struct err *err)
{
	const json_t *url = json_object_get(value, "url"), *metadata = json_object_get(value, "metadata");
	char *text;

	if (json_string_length(url) == 0 || strlen(json_string_value(url)) != json_string_length(url))
		return err_set(err, ERR_INVALID, "The url of a location is not valid.");
	text = json_dumps(metadata, JSON_ENSURE_ASCII);
	ret->url = arena_strdup(a, json_string_value(url));
	ret->metadata = text && strcmp(text, "{}") != 0 ? arena_strdup(a, text) : NULL;
	if (!text || !ret->url || (strcmp(text, "{}") != 0 && !ret->metadata)) {
		free(text);
		return err_nomem(err);
	}
	free(text);
	return 0;
}

static int check_new(const struct image *img, const char *url, int64_t max, struct err *err)
{
	for (size_t i = 0; i < img->n_locations; i++)
		if (strcmp(img->locations[i].url, url) == 0)
			return err_set(err, ERR_INVALID, "The location is one of the image's already.");
	if (max >= 0 && (int64_t)img->n_locations >= max)
		return err_set(err, ERR_TOO_LARGE, "The image would have %zu locations; %lld are allowed.",
			       img->n_locations + 1, (long long)max);
	return 0;
}

static int insert(const json_t *value, size_t place, const struct image_limits *limits, struct arena *a,
		  struct image *img, struct err *err)
{
	struct image_location added, *list;
	int r = locations_expect(json_object_get(value, "validation_data"), limits->hash_algorithm,
				 ERR_CONFLICT, a, img, err);

	if (r == 0)
		r = make_location(value, a, &added, err);
	if (r == 0)
		r = check_new(img, added.url, limits->max_locations, err);
	if (r < 0)
		return r;
	list = arena_alloc(a, (img->n_locations + 1) * sizeof(*list));
	if (!list)
		return err_nomem(err);
	for (size_t i = 0; i <= img->n_locations; i++)
		list[i] = i < place ? img->locations[i] : i == place ? added : img->locations[i - 1];
	img->locations = list;
	img->n_locations++;
	return 0;
}

static int activate(struct image *img, struct err *err)
{
	if (img->status != IMAGE_QUEUED)
		return 0;
	if (!img->disk_format || !img->container_format)
		return err_set(err, ERR_INVALID,
			       "Image %s needs a disk_format and a container_format before data.", img->id);
	img->status = IMAGE_ACTIVE;
	return 0;
}

static int add(const struct patch_step *step, const struct image_limits *limits, struct arena *a,
	       struct image *img, struct err *err)
{
	size_t place = 0;
	int r = check_state(img, false, err);

	if (r == 0)
		r = find_place(step->rest, img->n_locations, true, &place, err);
	if (r == 0)
		r = insert(step->value, place, limits, a, img, err);
	return r < 0 ? r : activate(img, err);
}

static int replace(const struct patch_step *step, const struct image_limits *limits, struct arena *a,
		   struct image *img, struct err *err)
{
	const json_t *value;
	size_t i;
	int r;

	if (json_array_size(step->value) == 0)
		return err_set(err, ERR_FORBIDDEN,
			       "The locations of an image cannot be replaced by an empty list.");
	r = check_state(img, false, err);
	if (r < 0)
		return r;
	if (img->n_locations > 0)
		return err_set(err, ERR_INVALID,
			       "The image has locations already, which cannot be replaced.");
	json_array_foreach(step->value, i, value)
	{
		r = insert(value, i, limits, a, img, err);
		if (r < 0)
			return r;
	}
	return activate(img, err);
}

static int take_away(const struct patch_step *step, struct arena *a, struct image *img, struct err *err)
{
	struct image_location *list;
	size_t place = 0, n = 0;
	int r = check_state(img, true, err);

	if (r < 0)
		return r;
	if (img->n_locations <= 1)
		return err_set(err, ERR_FORBIDDEN, "The last location of an image cannot be removed.");
	r = find_place(step->rest, img->n_locations - 1, false, &place, err);
	if (r < 0)
		return r;
	list = arena_alloc(a, img->n_locations * sizeof(*list));
	if (!list)
		return err_nomem(err);
	for (size_t i = 0; i < img->n_locations; i++)
		if (i != place)
			list[n++] = img->locations[i];
	img->locations = list;
	img->n_locations = n;
	return 0;
}

int locations_apply(const struct patch_step *step, const struct image_limits *limits, struct arena *a,
		    struct image *img, struct err *err)
{
	if (!limits->shows_locations)
		return err_set(err, ERR_FORBIDDEN, "Locations cannot be changed where they are not shown.");
	switch (step->op) {
	case PATCH_ADD:
		return add(step, limits, a, img, err);
	case PATCH_REPLACE:
		return replace(step, limits, a, img, err);
	case PATCH_REMOVE:
		break;
	}
	return take_away(step, a, img, err);
}
