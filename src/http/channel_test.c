/* SPDX-License-Identifier: Apache-2.0 */
#include "channel.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "testing.h"

static char dir[] = "/tmp/http_channel.XXXXXX";
static char pair_a[64], pair_b[64], both[64];

/* -- certificates and a client --------------------------------------------------------------------- */

static void write_pair(const char *path, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f = fopen(path, "w");

	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name,
				   -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void copy_file(const char *from, const char *to)
{
	char text[8192];
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");
	size_t n = fread(text, 1, sizeof(text), in);

	assert_int_equal(fwrite(text, 1, n, out), n);
	fclose(in);
	fclose(out);
}

static int group_setup(void **state)
{
	assert_non_null(mkdtemp(dir));
	(void)snprintf(pair_a, sizeof(pair_a), "%s/a", dir);
	(void)snprintf(pair_b, sizeof(pair_b), "%s/b", dir);
	(void)snprintf(both, sizeof(both), "%s/pair", dir);
	write_pair(pair_a, "a");
	write_pair(pair_b, "b");
	return 0;
}

static int group_teardown(void **state)
{
	unlink(pair_a);
	unlink(pair_b);
	unlink(both);
	return rmdir(dir);
}

static int setup(void **state)
{
	const struct http_tls tls = {.cert_file = both};

	copy_file(pair_a, both);
	return test_setup_with(state, (struct http_config){.tls = &tls,
							   .header_timeout_us = 1000000,
							   .idle_timeout_us = INT64_C(60000000)});
}

struct client {
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
};

static struct client client_on(int fd, int version)
{
	struct client c = {.fd = fd, .ctx = SSL_CTX_new(TLS_client_method())};

	SSL_CTX_set_min_proto_version(c.ctx, version);
	SSL_CTX_set_max_proto_version(c.ctx, version);
	c.ssl = SSL_new(c.ctx);
	SSL_set_fd(c.ssl, c.fd);
	return c;
}

static struct client call(struct env *env, int version)
{
	struct client c = client_on(dial(env), version);

	assert_int_equal(SSL_connect(c.ssl), 1);
	return c;
}

static void hang_up(struct client *c)
{
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
	close(c->fd);
}

static void ask(struct client *c, const char *text)
{
	assert_int_equal(SSL_write(c->ssl, text, (int)strlen(text)), strlen(text));
}

/* One answer: its head in @head, its body in @body; how much of that there was. */
static size_t answer_of(struct client *c, char head[4096], char *body, size_t room)
{
	const char *length;
	size_t n = 0, want, got = 0;
	int r;

	while (n < 4095 && (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0)) {
		assert_int_equal(SSL_read(c->ssl, head + n, 1), 1);
		n++;
	}
	head[n] = '\0';
	length = strstr(head, "Content-Length: ");
	want = length ? strtoul(length + 16, NULL, 10) : 0;
	assert_true(want <= room);
	while (got < want && (r = SSL_read(c->ssl, body + got, (int)(want - got))) > 0)
		got += (size_t)r;
	return got;
}

static void expect_tls(struct client *c, int status, const char *body)
{
	char head[4096], got[4096];
	size_t n = answer_of(c, head, got, sizeof(got) - 1);

	got[n] = '\0';
	assert_int_equal(strtol(head + 9, NULL, 10), status);
	if (body)
		assert_string_equal(got, body);
}

/* The server says goodbye before it closes. */
static void expect_goodbye(struct client *c)
{
	char octet;
	int r = SSL_read(c->ssl, &octet, 1);

	assert_int_equal(SSL_get_error(c->ssl, r), SSL_ERROR_ZERO_RETURN);
}

/* -- tests ----------------------------------------------------------------------------------------- */

static void test_requests(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		struct client c = call(*state, versions[i]);

		ask(&c, GET("/tiny") GET("/work") GET("/late"));
		expect_tls(&c, 200, "tiny");
		expect_tls(&c, 200, "tiny");
		expect_tls(&c, 200, NULL);
		hang_up(&c);
		c = call(*state, versions[i]);
		ask(&c, "GET /tiny HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
		expect_tls(&c, 200, "tiny");
		expect_goodbye(&c);
		hang_up(&c);
	}
}

/* Records that end anywhere, several in a segment, one in several. */
static void test_octet_by_octet(void **state)
{
	struct client c = call(*state, TLS1_3_VERSION);
	static const char text[] = "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
				   "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";

	for (const char *p = text; *p; p++)
		assert_int_equal(SSL_write(c.ssl, p, 1), 1);
	expect_tls(&c, 200, "abcd");
	ask(&c, GET("/tiny"));
	expect_tls(&c, 200, "tiny");
	hang_up(&c);
}

static void test_stream(void **state)
{
	struct client c = call(*state, TLS1_3_VERSION);
	static char data[300000];
	char expected[64];
	unsigned sum = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		sum = sum * 31 + (unsigned char)(data[i] = (char)file_octet(i));
	(void)snprintf(expected, sizeof(expected), "%zu %08x", sizeof(data), sum);
	ask(&c, "PUT /stream HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 300000\r\n\r\n");
	expect_tls(&c, 100, NULL);
	assert_int_equal(SSL_write(c.ssl, data, sizeof(data)), sizeof(data));
	expect_tls(&c, 200, expected);
	ask(&c, GET("/tiny"));
	expect_tls(&c, 200, "tiny");
	hang_up(&c);
}

/* The socket is full again and again: what was not sent begins with the same octets. */
static void test_file(void **state)
{
	struct env *env = *state;
	struct client c = client_on(dial_small(env), TLS1_3_VERSION);
	static char body[FILE_BYTES];
	char head[4096];

	assert_int_equal(SSL_connect(c.ssl), 1);
	ask(&c, GET("/file?o=0&n=8388608") GET("/large?n=3000000") GET("/tiny"));
	assert_int_equal(answer_of(&c, head, body, sizeof(body)), FILE_BYTES);
	for (size_t i = 0; i < FILE_BYTES; i++)
		if ((unsigned char)body[i] != file_octet(i))
			fail_msg("octet %zu is another one", i);
	assert_int_equal(answer_of(&c, head, body, sizeof(body)), 3000000);
	for (size_t i = 0; i < 3000000; i++)
		if (body[i] != 'x')
			fail_msg("octet %zu is another one", i);
	expect_tls(&c, 200, "tiny");
	wait_until(env, &env->n_sent_calls, 1);
	assert_true(env->complete && env->n_sent == FILE_BYTES);
	hang_up(&c);
}

/* Not more is told than the client's side has taken, and not much less. */
static void test_file_abort(void **state)
{
	struct env *env = *state;
	struct client c = client_on(dial_small(env), TLS1_3_VERSION);
	static char data[65536];
	size_t n = 0;

	assert_int_equal(SSL_connect(c.ssl), 1);
	ask(&c, GET("/file?o=0&n=8388608"));
	while (n < 1000000)
		n += (size_t)SSL_read(c.ssl, data, sizeof(data));
	hang_up(&c);
	wait_until(env, &env->n_sent_calls, 1);
	assert_false(env->complete);
	assert_in_range(env->n_sent, 1000000 - 3 * 65536, 1500000);
}

/* Who does not come to the point: nothing, half a hello, something else than TLS. */
static void test_no_handshake(void **state)
{
	struct env *env = *state;
	int silent = dial(env), half = dial(env), plain = dial(env);
	char text[64];

	say_n(half, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
	say(plain, GET("/tiny"));
	while (hear_some(plain, text, sizeof(text)))
		assert_null(memmem(text, sizeof(text), "tiny", 4));
	close(plain);
	expect_end(silent);
	expect_end(half);
}

static void test_old_versions(void **state)
{
	struct client c = client_on(dial(*state), TLS1_1_VERSION);

	SSL_set_security_level(c.ssl, 0);
	assert_int_not_equal(SSL_connect(c.ssl), 1);
	hang_up(&c);
}

static void test_alpn(void **state)
{
	static const struct {
		const char *offer, *chosen;
	} cases[] = {{"\x02h2\x08http/1.1", "http/1.1"}, {"\x08http/1.0", "http/1.0"}, {"\x02h2", NULL}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct client c = client_on(dial(*state), TLS1_3_VERSION);
		const unsigned char *chosen;
		unsigned n;

		SSL_set_alpn_protos(c.ssl, (const unsigned char *)cases[i].offer,
				    (unsigned)strlen(cases[i].offer));
		assert_int_equal(SSL_connect(c.ssl) == 1, cases[i].chosen != NULL);
		SSL_get0_alpn_selected(c.ssl, &chosen, &n);
		if (cases[i].chosen)
			assert_memory_equal(chosen, cases[i].chosen, strlen(cases[i].chosen));
		hang_up(&c);
	}
}

/* A client may have new keys now and then, but not do nothing else. */
static void test_key_updates(void **state)
{
	struct client c = call(*state, TLS1_3_VERSION);
	int n = 0;

	for (; n < 50; n++) {
		assert_int_equal(SSL_key_update(c.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(c.ssl), 1);
	}
	ask(&c, GET("/tiny"));
	expect_tls(&c, 200, "tiny");
	for (; n < 200000; n++)
		if (SSL_key_update(c.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 || SSL_do_handshake(c.ssl) != 1)
			break;
	assert_true(n < 200000);
	hang_up(&c);
	c = call(*state, TLS1_3_VERSION);
	ask(&c, GET("/tiny"));
	expect_tls(&c, 200, "tiny");
	hang_up(&c);
}

/* -- records that no client makes ----------------------------------------------------------------- */

static unsigned char secret[32]; /* by which the client of late encrypts */

static void keep_secret(const SSL *ssl, const char *line)
{
	const char *hex = strrchr(line, ' ') + 1;

	if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) != 0)
		return;
	for (size_t i = 0; i < sizeof(secret); i++)
		assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &secret[i]), 1);
}

/* HKDF-Expand-Label of RFC 8446, for less than a hash. */
static void expand(const char *label, unsigned char *out, size_t n)
{
	unsigned char info[32] = {0, (unsigned char)n, (unsigned char)(6 + strlen(label))}, mac[32];
	size_t at = 3 + (size_t)sprintf((char *)info + 3, "tls13 %s", label);

	info[at] = 0;
	info[at + 1] = 1;
	assert_non_null(HMAC(EVP_sha256(), secret, sizeof(secret), info, at + 2, mac, NULL));
	memcpy(out, mac, n);
}

/* The client's record number @seq behind what is in @out; how long that is now. */
static size_t add_record(unsigned char *out, size_t at, unsigned char seq, int type, const char *data,
			 size_t n)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char key[16], iv[12], octet = (unsigned char)type, *p = out + at;
	size_t length = n + 1 + 16;
	int got;

	expand("key", key, sizeof(key));
	expand("iv", iv, sizeof(iv));
	iv[11] ^= seq;
	memcpy(p, "\x17\x03\x03", 3);
	p[3] = (unsigned char)(length >> 8);
	p[4] = (unsigned char)length;
	EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, key, iv);
	EVP_EncryptUpdate(ctx, NULL, &got, p, 5);
	EVP_EncryptUpdate(ctx, p + 5, &got, (const unsigned char *)data, (int)n);
	EVP_EncryptUpdate(ctx, p + 5 + n, &got, &octet, 1);
	EVP_EncryptFinal_ex(ctx, p + 5 + n + 1, &got);
	EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, p + 5 + n + 1);
	EVP_CIPHER_CTX_free(ctx);
	return at + 5 + length;
}

static int64_t processor_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

/* Half a message about new keys, behind a request: before OpenSSL writes, it wants the other half. The thread
 * that writes the body waits for that, and does not ask again and again whether there is room. */
static void test_half_a_key_update(void **state)
{
	static const char get[] = GET("/feed?length=10&n=10");
	struct client c = client_on(dial(*state), TLS1_3_VERSION);
	unsigned char text[512];
	int64_t before_us;
	size_t n;

	assert_int_equal(SSL_set_ciphersuites(c.ssl, "TLS_AES_128_GCM_SHA256"), 1);
	SSL_CTX_set_keylog_callback(c.ctx, keep_secret);
	assert_int_equal(SSL_connect(c.ssl), 1);
	n = add_record(text, 0, 0, SSL3_RT_APPLICATION_DATA, get, strlen(get));
	n = add_record(text, n, 1, SSL3_RT_HANDSHAKE, "\x18\0\0\1", 4);
	say_n(c.fd, (const char *)text, n);
	usleep(100000); /* until it has begun */
	before_us = processor_us();
	usleep(500000);
	assert_in_range(processor_us() - before_us, 0, 100000);
	n = add_record(text, 0, 2, SSL3_RT_HANDSHAKE, "\0", 1);
	say_n(c.fd, (const char *)text, n);
	expect_tls(&c, 200, "xxxxxxxxxx");
	hang_up(&c);
}

static void test_renegotiation(void **state)
{
	struct client c = call(*state, TLS1_2_VERSION);

	assert_int_equal(SSL_renegotiate(c.ssl), 1);
	assert_int_not_equal(SSL_do_handshake(c.ssl), 1);
	hang_up(&c);
}

static void expect_name(struct env *env, const char *name)
{
	struct client c = call(env, TLS1_3_VERSION);
	X509 *x = SSL_get1_peer_certificate(c.ssl);
	char text[64] = "";

	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text, sizeof(text));
	assert_string_equal(text, name);
	X509_free(x);
	hang_up(&c);
}

static void test_reload(void **state)
{
	struct env *env = *state;
	struct client before = call(env, TLS1_3_VERSION);
	struct err err = {0};
	FILE *f;

	expect_name(env, "a");
	f = fopen(both, "w");
	fputs("nonsense\n", f);
	fclose(f);
	assert_int_equal(http_reload(env->server, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, both));
	expect_name(env, "a");
	unlink(both);
	assert_int_equal(http_reload(env->server, &err), ERR_INVALID);
	expect_name(env, "a");
	copy_file(pair_b, both);
	assert_int_equal(http_reload(env->server, &err), 0);
	expect_name(env, "b");
	ask(&before, GET("/tiny"));
	expect_tls(&before, 200, "tiny");
	hang_up(&before);
}

static void test_bad_files(void **state)
{
	struct err err = {0};
	const struct http_tls missing = {.cert_file = "/nonexistent/pem"},
			      other = {.cert_file = pair_a, .key_file = pair_b},
			      no_ca = {.cert_file = pair_a, .ca_file = "/nonexistent/ca"};

	assert_int_equal(http_check_tls(&missing, &err), ERR_INVALID);
	assert_string_equal(err.text, "cert_file /nonexistent/pem: No such file or directory");
	assert_int_equal(http_check_tls(&other, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "key_file"));
	assert_int_equal(http_check_tls(&no_ca, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "ca_file"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, test_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_requests),      TEST(test_octet_by_octet), TEST(test_stream),
		TEST(test_file),          TEST(test_file_abort),     TEST(test_no_handshake),
		TEST(test_old_versions),  TEST(test_alpn),           TEST(test_key_updates),
		TEST(test_renegotiation), TEST(test_reload),         cmocka_unit_test(test_bad_files),
		TEST(test_half_a_key_update),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
