// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: nothing changes for a server that does not negotiate it,
 * and for files whose opens do not ask for it.
 */
#include "test_common.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define SIZE	20000

FIXTURE(plain)
{
	struct test_env env;
	struct test_file *file;
	char data[SIZE];
	char buf[SIZE];
};

FIXTURE_VARIANT(plain)
{
	bool negotiated;
	bool writeback;
};

FIXTURE_VARIANT_ADD(plain, not_negotiated)
{
	.negotiated = false,
};

FIXTURE_VARIANT_ADD(plain, not_asked_for)
{
	.negotiated = true,
};

FIXTURE_VARIANT_ADD(plain, writeback_cache)
{
	.negotiated = true, .writeback = true,
};

FIXTURE_SETUP(plain)
{
	struct test_env *env = &self->env;

	test_pattern(self->data, SIZE, 2);
	ASSERT_EQ(0, test_setup(env));
	if (!variant->negotiated)
		env->config.init_flags &= ~FUSE_PASSTHROUGH;
	if (variant->writeback)
		env->config.init_flags |= FUSE_WRITEBACK_CACHE;
	self->file = test_add_file(env, "file", self->data, SIZE);
	ASSERT_TRUE(!!self->file);
	env->config.init_flags |= FUSE_ASYNC_DIO;
	ASSERT_EQ(0, test_start(env));
}

FIXTURE_TEARDOWN(plain)
{
	test_teardown(&self->env);
}

TEST_F(plain, reads_go_to_the_server)
{
	int fd = test_open(self->file, O_RDONLY);

	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, read(fd, self->buf, SIZE));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, reads_are_cached)
{
	int fd = test_open(self->file, O_RDONLY);
	int reads;

	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	reads = test_count(&self->env, FUSE_READ);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(reads, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, readahead_asks_the_server)
{
	int fd = test_open(self->file, O_RDONLY);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, readahead(fd, 0, SIZE));
	test_sync(&self->env);
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, writes_go_to_the_server)
{
	int fd = test_open(self->file, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(100, pwrite(fd, self->data + 1, 100, 0));
	EXPECT_EQ(0, fsync(fd));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));
	ASSERT_EQ(100, pread(self->file->fd, self->buf, 100, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data + 1, 100));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, writes_ask_for_capabilities_as_ever)
{
	int fd = test_open(self->file, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(100, pwrite(fd, self->data, 100, 0));
	EXPECT_EQ(1, test_count(&self->env, FUSE_GETXATTR));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, direct_io_goes_to_the_server_each_time)
{
	int fd;

	self->file->open_flags = FOPEN_DIRECT_IO;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(100, pread(fd, self->buf, 100, 0));
	ASSERT_EQ(100, pread(fd, self->buf, 100, 0));
	EXPECT_EQ(2, test_count(&self->env, FUSE_READ));
	ASSERT_EQ(100, pwrite(fd, self->data + 1, 100, 0));
	EXPECT_EQ(1, test_count(&self->env, FUSE_WRITE));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, asynchronous_direct_io_goes_to_the_server)
{
	int fd;

	if (!test_has_aio())
		SKIP(return, "no libaio: enable CONFIG_AIO");
	fd = test_open(self->file, O_RDWR | O_DIRECT);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, do_read(AIO, fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	ASSERT_EQ(100, do_write(AIO, fd, self->data + 1, 100, 0));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));
	EXPECT_EQ(0, close(fd));
}

/* Once it is, that is cached I/O, and further mappings change nothing */
TEST_F(plain, direct_io_is_mapped_privately_by_the_server)
{
	char *map[2];
	int fd, i;

	self->file->open_flags = FOPEN_DIRECT_IO;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(ENODEV, errno);
	for (i = 0; i < 2; i++) {
		map[i] = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
		ASSERT_NE(MAP_FAILED, map[i]);
		EXPECT_EQ(0, memcmp(map[i], self->data, SIZE));
	}
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, munmap(map[i], SIZE));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, mappings_are_filled_by_the_server)
{
	int fd = test_open(self->file, O_RDWR);
	char *map;

	ASSERT_LE(0, fd);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_TRUE(map != MAP_FAILED);
	EXPECT_EQ(0, memcmp(map, self->data, SIZE));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	map[0]++;
	EXPECT_EQ(0, msync(map, SIZE, MS_SYNC));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));
	EXPECT_EQ(0, munmap(map, SIZE));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, a_backing_id_without_the_flag_means_nothing)
{
	int fd;

	self->file->backing_id = 4711;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, read(fd, self->buf, SIZE));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, close(fd));
}

TEST_F(plain, unknown_open_flags_are_ignored_as_ever)
{
	int fd;

	self->file->open_flags = 1U << 20;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, read(fd, self->buf, SIZE));
	EXPECT_EQ(0, close(fd));
}

/* A server that knows no OPEN. The kernel does without RELEASE then, too. */
static bool leave_open_unanswered(struct test_env *env, struct fuse_req *req)
{
	return req->in->opcode == FUSE_OPEN;
}

TEST_F(plain, opens_without_an_open_request_work)
{
	int fd;

	self->env.hook = leave_open_unanswered;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, read(fd, self->buf, SIZE));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, test_releases(self->file));
}

/* A passthrough file and a plain one side by side */
FIXTURE(mixed)
{
	struct test_env env;
	struct test_file *plain;
	struct test_file *passthrough;
	int plain_fd;
	int passthrough_fd;
	char buf[16];
};

FIXTURE_SETUP(mixed)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->passthrough_fd = test_open_new(env, "passthrough", "aaaa", 4,
					     O_RDWR, &self->passthrough);
	ASSERT_LE(0, self->passthrough_fd);
	self->plain = test_add_file(env, "plain", "bbbb", 4);
	ASSERT_TRUE(!!self->plain);
	self->plain_fd = test_open(self->plain, O_RDWR);
	ASSERT_LE(0, self->plain_fd);
}

FIXTURE_TEARDOWN(mixed)
{
	close(self->plain_fd);
	close(self->passthrough_fd);
	test_teardown(&self->env);
}

TEST_F(mixed, only_the_plain_file_is_read_by_the_server)
{
	ASSERT_EQ(4, pread(self->passthrough_fd, self->buf, 16, 0));
	EXPECT_EQ(0, memcmp(self->buf, "aaaa", 4));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	ASSERT_EQ(4, pread(self->plain_fd, self->buf, 16, 0));
	EXPECT_EQ(0, memcmp(self->buf, "bbbb", 4));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
}

TEST_F(mixed, only_the_plain_file_is_written_by_the_server)
{
	ASSERT_EQ(4, pwrite(self->passthrough_fd, "AAAA", 4, 0));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	ASSERT_EQ(4, pwrite(self->plain_fd, "BBBB", 4, 0));
	EXPECT_EQ(1, test_count(&self->env, FUSE_WRITE));
}

TEST_F(mixed, a_file_may_be_plain_after_it_was_passthrough)
{
	ASSERT_EQ(4, pwrite(self->passthrough_fd, "AAAA", 4, 0));
	ASSERT_EQ(0, close(self->passthrough_fd));
	self->passthrough->open_flags = 0;
	self->passthrough_fd = test_open(self->passthrough, O_RDWR);
	ASSERT_LE(0, self->passthrough_fd);
	ASSERT_EQ(4, pread(self->passthrough_fd, self->buf, 16, 0));
	EXPECT_EQ(0, memcmp(self->buf, "AAAA", 4));
	EXPECT_EQ(1, test_count(&self->env, FUSE_READ));
}

TEST_F(mixed, a_file_may_be_passthrough_after_it_was_plain)
{
	/* Pages that must not be seen later */
	ASSERT_EQ(4, pread(self->plain_fd, self->buf, 16, 0));
	ASSERT_EQ(0, close(self->plain_fd));
	ASSERT_LT(0, test_back(self->plain));
	self->plain_fd = test_open(self->plain, O_RDWR);
	ASSERT_LE(0, self->plain_fd);
	ASSERT_EQ(4, pwrite(self->plain->fd, "BBBB", 4, 0));
	ASSERT_EQ(4, pread(self->plain_fd, self->buf, 16, 0));
	EXPECT_EQ(0, memcmp(self->buf, "BBBB", 4));
	EXPECT_EQ(1, test_count(&self->env, FUSE_READ));
}

/* The kernel has passthrough, but this connection has not got it */
FIXTURE(not_enabled)
{
	struct test_env env;
	struct test_file *file;
};

FIXTURE_VARIANT(not_enabled)
{
	uint64_t without;
	uint64_t with;
};

FIXTURE_VARIANT_ADD(not_enabled, not_negotiated)
{
	.without = FUSE_PASSTHROUGH,
};

FIXTURE_VARIANT_ADD(not_enabled, writeback_cache)
{
	.with = FUSE_WRITEBACK_CACHE,
};

FIXTURE_SETUP(not_enabled)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	env->config.init_flags &= ~variant->without;
	env->config.init_flags |= variant->with;
	self->file = test_add_file(env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
}

FIXTURE_TEARDOWN(not_enabled)
{
	test_teardown(&self->env);
}

TEST_F(not_enabled, the_passthrough_flag_is_eio)
{
	int fd;

	self->file->open_flags = FOPEN_PASSTHROUGH;
	self->file->backing_id = 1;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_OR_XFAIL(return, &self->env, fd == -1 && errno == EIO,
			"opens the file, or says %s", strerror(errno));
	EXPECT_EQ(1, test_releases(self->file));
}

TEST_HARNESS_MAIN
