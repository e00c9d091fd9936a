/* SPDX-License-Identifier: Apache-2.0
 * replay.c -- run a fuzz target over its corpus, as a plain test without a fuzzer: every file of the
 * directory that is named on the command line. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak)); /* few targets have one */

static int complain(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return -1;
}

/* Memory of exactly the file's size, so that a sanitizer sees the first octet read past its end. */
static int replay_fd(int fd, const char *name)
{
	struct stat st;
	uint8_t *data;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return complain(name);
	data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
	if (!data || read(fd, data, (size_t)st.st_size) != st.st_size)
		r = complain(name);
	else
		(void)LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
	return r;
}

static int replay_file(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return complain(name);
	r = replay_fd(fd, name);
	(void)close(fd);
	return r;
}

/* The number of files, or negative. */
static int replay_directory(DIR *dir)
{
	struct dirent *entry;
	int n = 0;

	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (replay_file(dirfd(dir), entry->d_name) < 0)
			return -1;
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	DIR *dir;
	int n;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	if (LLVMFuzzerInitialize)
		(void)LLVMFuzzerInitialize(&argc, &argv);
	dir = opendir(argv[1]);
	if (!dir) {
		(void)complain(argv[1]);
		return 1;
	}
	n = replay_directory(dir);
	(void)closedir(dir);
	printf("%d inputs\n", n);
	return n > 0 ? 0 : 1; /* a target without a corpus tests nothing */
}
