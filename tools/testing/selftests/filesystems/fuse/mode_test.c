// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: how the opens of one file fit together. All of them see the
 * same data, whatever their replies say.
 */
#include "test_common.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define SIZE	8192

FIXTURE(modes)
{
	struct test_env env;
	struct test_file *file;
	int dev;
	int id;
	char data[SIZE];
	char buf[SIZE];
};

FIXTURE_SETUP(modes)
{
	struct test_env *env = &self->env;

	test_pattern(self->data, SIZE, 3);
	ASSERT_EQ(0, test_setup(env));
	self->file = test_add_file(env, "file", self->data, SIZE);
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->dev = fuse_server_dev(env->srv);
	self->id = test_back(self->file);
	ASSERT_LT(0, self->id);
}

FIXTURE_TEARDOWN(modes)
{
	test_teardown(&self->env);
}

/* Each of the two sees what the other writes. 0, or the step that went wrong */
static int try_coherence(int a, int b)
{
	char buf[8];

	if (pwrite(a, "from a  ", 8, 4090) != 8)
		return 1;
	if (pread(b, buf, 8, 4090) != 8 || memcmp(buf, "from a  ", 8))
		return 2;
	if (pwrite(b, "from b  ", 8, 4090) != 8)
		return 3;
	if (pread(a, buf, 8, 4090) != 8 || memcmp(buf, "from b  ", 8))
		return 4;
	return 0;
}

TEST_F(modes, another_id_of_the_same_file_is_accepted)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	self->file->backing_id = fuse_backing_open(self->dev, self->file->fd);
	ASSERT_LT(0, self->file->backing_id);
	ASSERT_NE(self->id, self->file->backing_id);
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses another id of the same file with %s [B10]",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_EQ(0, test_data_requests(&self->env));

	/* The inode keeps its backing file when the first id's opens are gone. */
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(0, test_backing_close(self->dev, self->id));
	EXPECT_EQ(SIZE, pread(second, self->buf, SIZE, 0));
	EXPECT_EQ(0, close(second));
}

TEST_F(modes, an_id_of_another_link_is_accepted)
{
	char path[PATH_MAX], link_path[PATH_MAX];
	int first, second, fd;

	test_backing_path(self->file, path);
	test_pathf(link_path, "%s/link", self->env.backing);
	ASSERT_EQ(0, link(path, link_path));
	first = test_open(self->file, O_RDWR);
	ASSERT_LE(0, first);

	fd = open(link_path, O_RDWR | O_CLOEXEC);
	self->file->backing_id = fuse_backing_open(self->dev, fd);
	ASSERT_LT(0, self->file->backing_id);
	close(fd);
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses another link of the same file with %s [B10]",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
}

TEST_F(modes, id_zero_stands_for_the_backing_file_in_use)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	self->file->backing_id = 0;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses id 0 with %s [B11]", strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(SIZE, pread(second, self->buf, SIZE, 0));
	EXPECT_EQ(0, test_data_requests(&self->env));
}

TEST_F(modes, an_open_without_the_flag_joins)
{
	int first = test_open(self->file, O_RDWR);
	int second;

	ASSERT_LE(0, first);
	self->file->open_flags = 0;
	self->file->backing_id = 0;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses an open without FOPEN_PASSTHROUGH with %s [B11]",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_EQ(0, test_data_requests(&self->env));

	/* It keeps the mode, too */
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(SIZE, pread(second, self->buf, SIZE, 0));
	EXPECT_EQ(0, test_data_requests(&self->env));
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(2, test_releases(self->file));
}

TEST_F(modes, direct_io_with_the_flag_asks_the_server)
{
	char *map;
	int fd;

	self->file->open_flags |= FOPEN_DIRECT_IO;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	ASSERT_EQ(4, pwrite(fd, "data", 4, 0));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, "data", 4));
	memcpy(map, "DATA", 4);
	EXPECT_EQ(4, pread(self->file->fd, self->buf, 4, 0));
	EXPECT_EQ(0, memcmp(self->buf, "DATA", 4));
	EXPECT_EQ(0, munmap(map, SIZE));
}

TEST_F(modes, direct_io_without_the_flag_joins)
{
	int first = test_open(self->file, O_RDWR);
	int second;
	char *map;

	ASSERT_LE(0, first);
	self->file->open_flags = FOPEN_DIRECT_IO;
	self->file->backing_id = 0;
	second = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, second >= 0,
			"refuses an open with FOPEN_DIRECT_IO alone with %s [B11]",
			strerror(errno));
	EXPECT_EQ(0, try_coherence(first, second));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_LT(0, test_count(&self->env, FUSE_WRITE));

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, second, 0);
	ASSERT_OR_XFAIL(return, &self->env, map != MAP_FAILED,
			"cannot map it: %s [B11]", strerror(errno));
	memcpy(map, "DATA", 4);
	EXPECT_EQ(4, pread(first, self->buf, 4, 0));
	EXPECT_EQ(0, memcmp(self->buf, "DATA", 4));
	EXPECT_EQ(0, munmap(map, SIZE));
}

TEST_F(modes, direct_io_alone_is_no_mode)
{
	int direct, fd;

	self->file->open_flags = FOPEN_DIRECT_IO;
	direct = test_open(self->file, O_RDWR);
	ASSERT_LE(0, direct);
	self->file->open_flags = FOPEN_PASSTHROUGH;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, try_coherence(direct, fd));
}

/* It would fill the page cache, which nobody keeps in step with the file [B5] */
TEST_F(modes, direct_io_alone_is_not_mapped_beside_passthrough)
{
	int direct, fd;
	void *map;

	self->file->open_flags = FOPEN_DIRECT_IO;
	direct = test_open(self->file, O_RDWR);
	ASSERT_LE(0, direct);
	self->file->open_flags = FOPEN_PASSTHROUGH;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);

	map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, direct, 0);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(ENODEV, errno);

	/* Without passthrough it is, and that is cached I/O. */
	EXPECT_EQ(0, close(fd));
	test_sync(&self->env);
	map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, direct, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, self->data, SIZE));
	fd = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, &self->env, fd == -1 && errno == EIO,
			"opens it in passthrough mode while its pages are mapped [B5]");
	EXPECT_EQ(0, munmap(map, SIZE));
	EXPECT_EQ(0, close(direct));
	fd = test_open(self->file, O_RDWR);
	EXPECT_LE(0, fd);
}

TEST_F(modes, the_last_close_ends_the_mode)
{
	int first = test_open(self->file, O_RDWR);
	int second = test_open(self->file, O_RDWR);
	int cached;

	ASSERT_LE(0, first);
	ASSERT_LE(0, second);
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(0, close(second));
	test_sync(&self->env);

	self->file->open_flags = 0;
	cached = test_open(self->file, O_RDWR);
	ASSERT_LE(0, cached);
	ASSERT_EQ(SIZE, pread(cached, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_LT(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, close(cached));
}

TEST_F(modes, pages_from_before_are_not_seen)
{
	int fd;

	self->file->open_flags = 0;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, close(fd));
	ASSERT_EQ(3, pwrite(self->file->fd, "new", 3, 0));
	memcpy(self->data, "new", 3);

	self->file->open_flags = FOPEN_PASSTHROUGH;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	ASSERT_EQ(5, pwrite(fd, "newer", 5, 100));
	memcpy(self->data + 100, "newer", 5);
	EXPECT_EQ(0, close(fd));
	test_sync(&self->env);

	self->file->open_flags = FOPEN_KEEP_CACHE;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(SIZE, pread(fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
	EXPECT_EQ(0, close(fd));
}

/*
 * A thread opens and closes in one way what another opens and closes in the
 * other way, one after the other: close() of the first may have returned before
 * its file is released, by a task that still had it.
 */
static int open_and_leave_to_exit(void *arg)
{
	struct test_file *file = arg;
	char c;
	int fd = test_open(file, O_RDWR);

	if (fd < 0 || dup(fd) < 0 || pread(fd, &c, 1, 0) != 1)
		return 1;
	return 0;
}

TEST_F(modes, a_closed_file_does_not_make_an_open_fail)
{
	int i, fd;

	for (i = 0; i < 200; i++) {
		self->file->open_flags = i % 2 ? FOPEN_PASSTHROUGH : 0;
		ASSERT_EQ(0, test_in_child(open_and_leave_to_exit, self->file));
		self->file->open_flags = FOPEN_PASSTHROUGH;
		fd = test_open(self->file, O_RDWR);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, close(fd));
	}
}

TEST_HARNESS_MAIN
