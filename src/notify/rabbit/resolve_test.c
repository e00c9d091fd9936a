/* SPDX-License-Identifier: Apache-2.0
 * notify/rabbit/resolve_test.c -- names, with a name service that answers when the test says so. */
#include "resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

#define SECOND INT64_C(1000000)
#define SHORT (SECOND / 20)
#define LONG (30 * SECOND)

/* -- the name service ----------------------------------------------------------------------------- */

static struct {
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t changed;
	bool hangs;
	unsigned n_asked, n_answered;
} service = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct addrinfo *make_address(uint32_t address, struct addrinfo *next)
{
	struct addrinfo *a = calloc(1, sizeof(*a) + sizeof(struct sockaddr_in));
	struct sockaddr_in *in = (struct sockaddr_in *)(a + 1);

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(address);
	*a = (struct addrinfo){.ai_family = AF_INET,
			       .ai_addrlen = sizeof(*in),
			       .ai_addr = (struct sockaddr *)in,
			       .ai_next = next};
	return a;
}

/* Instead of libc's. Knows "two" (addresses), "many" and "none", and no other name. */
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **ret)
{
	unsigned n = strcmp(name, "two") == 0 ? 2 : strcmp(name, "many") == 0 ? 100 : 0;

	pthread_mutex_lock(&service.lock);
	service.n_asked++;
	pthread_cond_broadcast(&service.changed);
	while (service.hangs)
		pthread_cond_wait(&service.changed, &service.lock);
	service.n_answered++;
	pthread_cond_broadcast(&service.changed);
	pthread_mutex_unlock(&service.lock);
	*ret = NULL;
	for (unsigned i = n; i > 0; i--)
		*ret = make_address(0x7f000000 + i, *ret);
	return n > 0 || strcmp(name, "none") == 0 ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list)
{
	while (list) {
		struct addrinfo *next = list->ai_next;

		free(list);
		list = next;
	}
}

static void set_hangs(bool hangs)
{
	pthread_mutex_lock(&service.lock);
	service.hangs = hangs;
	pthread_cond_broadcast(&service.changed);
	pthread_mutex_unlock(&service.lock);
}

static void wait_until_answered(unsigned n)
{
	pthread_mutex_lock(&service.lock);
	while (service.n_answered < n)
		pthread_cond_wait(&service.changed, &service.lock);
	pthread_mutex_unlock(&service.lock);
}

static unsigned n_asked(void)
{
	unsigned n;

	pthread_mutex_lock(&service.lock);
	n = service.n_asked;
	pthread_mutex_unlock(&service.lock);
	return n;
}

/* -- the tests ------------------------------------------------------------------------------------ */

static struct resolver resolver;
static struct addresses found;
static struct err err;

static int ask(const char *name, int64_t us)
{
	return resolver_ask(&resolver, name, clock_mono_us() + us, &found, &err);
}

static void test_answers(void **state)
{
	assert_int_equal(ask("two", LONG), 0);
	assert_int_equal(found.n, 2);
	assert_string_equal(found.text[0], "127.0.0.1");
	assert_string_equal(found.text[1], "127.0.0.2");
	assert_int_equal(ask("many", LONG), 0);
	assert_int_equal(found.n, 8);
	assert_null(resolver.first);
}

static void test_no_answers(void **state)
{
	assert_int_equal(ask("unknown", LONG), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, gai_strerror(EAI_NONAME)));
	assert_int_equal(ask("none", LONG), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "no address"));
	assert_null(resolver.first);
}

/* Nobody is asked for an address. */
static void test_addresses(void **state)
{
	assert_int_equal(ask("192.0.2.1", 0), 0);
	assert_string_equal(found.text[0], "192.0.2.1");
	assert_int_equal(ask("::1", 0), 0);
	assert_string_equal(found.text[0], "::1");
	assert_int_equal(found.n, 1);
	assert_int_equal(n_asked(), 0);
}

/* We are back by the deadline; however often it is asked, the service has one question; and its answer
 * is not lost although nobody was there when it came. */
static void test_hanging(void **state)
{
	int64_t began = clock_mono_us();

	set_hangs(true);
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask("two", SHORT), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "does not answer"));
	assert_in_range(clock_mono_us() - began, 5 * SHORT, 5 * SECOND);
	assert_int_equal(ask("many", SHORT), ERR_UNAVAILABLE);
	assert_int_equal(n_asked(), 2);
	set_hangs(false);
	wait_until_answered(2);
	assert_int_equal(ask("two", LONG), 0);
	assert_int_equal(found.n, 2);
	assert_int_equal(ask("many", LONG), 0);
	assert_int_equal(found.n, 8);
	assert_int_equal(n_asked(), 2);
	assert_null(resolver.first);
}

/* Whoever leaves waits for nobody, and what was left behind is cleaned up by itself. */
static void test_abandoned(void **state)
{
	int64_t began;

	set_hangs(true);
	assert_int_equal(ask("two", SHORT), ERR_UNAVAILABLE);
	assert_int_equal(ask("many", SHORT), ERR_UNAVAILABLE);
	began = clock_mono_us();
	resolver_done(&resolver);
	assert_true(clock_mono_us() - began < SECOND);
	assert_null(resolver.first);
	set_hangs(false);
	wait_until_answered(2);
}

/* Or was answered already. */
static void test_left_with_an_answer(void **state)
{
	set_hangs(true);
	assert_int_equal(ask("two", SHORT), ERR_UNAVAILABLE);
	set_hangs(false);
	wait_until_answered(1);
	resolver_done(&resolver);
	assert_null(resolver.first);
}

static int setup(void **state)
{
	err = (struct err){0};
	service.n_asked = service.n_answered = 0;
	return 0;
}

#define TEST(t) cmocka_unit_test_setup(t, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_answers),   TEST(test_no_answers), TEST(test_addresses),
		TEST(test_hanging),   TEST(test_abandoned),  TEST(test_left_with_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
