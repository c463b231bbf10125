// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: the replies to OPEN, CREATE and TMPFILE that the kernel
 * follows, and those that it refuses with EIO.
 */
#include "test_common.h"

#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define UNKNOWN_FOPEN_BIT	0x100000

/* The three requests that open a file */
enum request { OPEN, CREATE, TMPFILE };

static const int open_flags[] = {
	[OPEN] = O_RDWR,
	[CREATE] = O_RDWR | O_CREAT | O_EXCL,
	[TMPFILE] = O_RDWR | O_TMPFILE,
};

static const uint32_t opcode[] = {
	[OPEN] = FUSE_OPEN,
	[CREATE] = FUSE_CREATE,
	[TMPFILE] = FUSE_TMPFILE,
};

/* Makes the file one that comes with the request */
static void prepare(struct test_file *file, enum request request)
{
	file->absent = request != OPEN;
	file->env->tmpfile = file;
}

static int open_by(struct test_file *file, enum request request)
{
	return test_open(file, open_flags[request]);
}

/* Sets the file up again for another request of the kind */
static int again(struct test_file *file, enum request request)
{
	char path[PATH_MAX];

	return request == CREATE ? unlink(test_path(file, path)) : 0;
}

/* The ids that a reply may carry */

static int id_of_file(struct test_file *file)
{
	return fuse_backing_open(fuse_server_dev(file->env->srv), file->fd);
}

static int id_zero(struct test_file *file)
{
	return 0;
}

static int id_minus_one(struct test_file *file)
{
	return -1;
}

static int id_int_min(struct test_file *file)
{
	return INT_MIN;
}

static int id_unknown(struct test_file *file)
{
	return id_of_file(file) + 4711;
}

static int id_int_max(struct test_file *file)
{
	return INT_MAX;
}

static int id_closed(struct test_file *file)
{
	int id = id_of_file(file);

	fuse_backing_close(fuse_server_dev(file->env->srv), id);
	return id;
}

static int id_one(struct test_file *file)
{
	return 1;
}

FIXTURE(bad_reply)
{
	struct test_env env;
	struct test_file *file;
};

FIXTURE_VARIANT(bad_reply)
{
	int (*id)(struct test_file *file);
	uint32_t flags;		/* beside FOPEN_PASSTHROUGH */
	bool not_negotiated;
};

FIXTURE_VARIANT_ADD(bad_reply, with_not_negotiated)
{
	.id = id_one, .not_negotiated = true,
};

FIXTURE_VARIANT_ADD(bad_reply, with_id_zero)
{
	.id = id_zero,
};

FIXTURE_VARIANT_ADD(bad_reply, with_id_minus_one)
{
	.id = id_minus_one,
};

FIXTURE_VARIANT_ADD(bad_reply, with_id_int_min)
{
	.id = id_int_min,
};

FIXTURE_VARIANT_ADD(bad_reply, with_id_unknown)
{
	.id = id_unknown,
};

FIXTURE_VARIANT_ADD(bad_reply, with_id_int_max)
{
	.id = id_int_max,
};

FIXTURE_VARIANT_ADD(bad_reply, with_id_closed)
{
	.id = id_closed,
};

FIXTURE_VARIANT_ADD(bad_reply, with_stream)
{
	.id = id_of_file, .flags = FOPEN_STREAM,
};

FIXTURE_VARIANT_ADD(bad_reply, with_nonseekable)
{
	.id = id_of_file, .flags = FOPEN_NONSEEKABLE,
};

FIXTURE_VARIANT_ADD(bad_reply, with_cache_dir)
{
	.id = id_of_file, .flags = FOPEN_CACHE_DIR,
};

FIXTURE_VARIANT_ADD(bad_reply, with_unknown_bit)
{
	.id = id_of_file, .flags = UNKNOWN_FOPEN_BIT,
};

FIXTURE_SETUP(bad_reply)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	if (variant->not_negotiated)
		env->config.init_flags &= ~FUSE_PASSTHROUGH;
	self->file = test_add_file(env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->file->backing_id = variant->id(self->file);
	self->file->open_flags = FOPEN_PASSTHROUGH | variant->flags;
}

FIXTURE_TEARDOWN(bad_reply)
{
	test_teardown(&self->env);
}

/* The tests are the same for the three requests. */

static void expect_eio(struct __test_metadata *_metadata,
		       struct test_file *file, enum request request)
{
	int fd, err;

	prepare(file, request);
	fd = open_by(file, request);
	err = fd < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (err == EOPNOTSUPP && request == TMPFILE)
		SKIP(return, "no TMPFILE in this kernel");
	ASSERT_EQ(1, test_count(file->env, opcode[request]));
	ASSERT_OR_XFAIL(return, file->env, err == EIO,
			"says %s (%d) and not EIO", strerror(err), err);
}

static void expect_one_release(struct __test_metadata *_metadata,
			       struct test_file *file, enum request request)
{
	prepare(file, request);
	ASSERT_OR_XFAIL(return, file->env, open_by(file, request) == -1,
			"accepts the reply");
	EXPECT_EQ(1, test_opens(file));
	EXPECT_EQ(1, test_releases(file));
	EXPECT_EQ(file->fh, file->released_fh);
}

static void expect_good_open_next(struct __test_metadata *_metadata,
				  struct test_file *file, enum request request,
				  bool passthrough)
{
	char buf[4];
	int fd, id;

	prepare(file, request);
	ASSERT_OR_XFAIL(return, file->env, open_by(file, request) == -1,
			"accepts the reply");

	ASSERT_EQ(0, again(file, request));
	file->open_flags = 0;
	id = passthrough ? test_back(file) : 0;
	ASSERT_LE(0, id);
	fd = open_by(file, request);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, pread(fd, buf, 4, 0));
	EXPECT_EQ(0, memcmp(buf, "data", 4));
	EXPECT_EQ(!passthrough, !!test_count(file->env, FUSE_READ));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(2, test_opens(file));
	EXPECT_EQ(2, test_releases(file));
}

TEST_F(bad_reply, to_open_is_eio)
{
	expect_eio(_metadata, self->file, OPEN);
}

TEST_F(bad_reply, to_open_is_released_once)
{
	expect_one_release(_metadata, self->file, OPEN);
}

TEST_F(bad_reply, to_open_does_no_harm_to_the_next)
{
	expect_good_open_next(_metadata, self->file, OPEN,
			      !variant->not_negotiated);
}

TEST_F(bad_reply, to_create_is_eio)
{
	expect_eio(_metadata, self->file, CREATE);
}

TEST_F(bad_reply, to_create_is_released_once)
{
	expect_one_release(_metadata, self->file, CREATE);
}

TEST_F(bad_reply, to_create_does_no_harm_to_the_next)
{
	expect_good_open_next(_metadata, self->file, CREATE,
			      !variant->not_negotiated);
}

TEST_F(bad_reply, to_tmpfile_is_eio)
{
	expect_eio(_metadata, self->file, TMPFILE);
}

TEST_F(bad_reply, to_tmpfile_is_released_once)
{
	expect_one_release(_metadata, self->file, TMPFILE);
}

TEST_F(bad_reply, to_tmpfile_does_no_harm_to_the_next)
{
	expect_good_open_next(_metadata, self->file, TMPFILE,
			      !variant->not_negotiated);
}

FIXTURE(good_reply)
{
	struct test_env env;
	struct test_file *file;
};

FIXTURE_VARIANT(good_reply)
{
	enum request request;
};

FIXTURE_VARIANT_ADD(good_reply, open)
{
	.request = OPEN,
};

FIXTURE_VARIANT_ADD(good_reply, create)
{
	.request = CREATE,
};

FIXTURE_VARIANT_ADD(good_reply, tmpfile)
{
	.request = TMPFILE,
};

FIXTURE_SETUP(good_reply)
{
	ASSERT_EQ(0, test_setup(&self->env));
	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	prepare(self->file, variant->request);
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
	ASSERT_LT(0, test_back(self->file));
}

FIXTURE_TEARDOWN(good_reply)
{
	test_teardown(&self->env);
}

TEST_F(good_reply, gives_a_passthrough_file)
{
	int fd = open_by(self->file, variant->request);
	char buf[8];

	ASSERT_LE(0, fd);
	EXPECT_EQ(4, pread(fd, buf, 8, 0));
	EXPECT_EQ(0, memcmp(buf, "data", 4));
	EXPECT_EQ(4, pwrite(fd, "DATA", 4, 0));
	EXPECT_EQ(4, pread(self->file->fd, buf, 8, 0));
	EXPECT_EQ(0, memcmp(buf, "DATA", 4));
	EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	EXPECT_EQ(0, close(fd));
}

TEST_F(good_reply, is_released_at_close)
{
	int fd = open_by(self->file, variant->request);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, test_releases(self->file));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(1, test_releases(self->file));
	EXPECT_EQ(self->file->fh, self->file->released_fh);
}

TEST_F(good_reply, lets_its_id_be_closed_at_once)
{
	int dev = fuse_server_dev(self->env.srv);
	int fd = open_by(self->file, variant->request);
	char buf[4];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, test_backing_close(dev, self->file->backing_id));
	EXPECT_EQ(4, pwrite(fd, "DATA", 4, 0));
	EXPECT_EQ(4, pread(fd, buf, 4, 0));
	EXPECT_EQ(0, memcmp(buf, "DATA", 4));
	EXPECT_EQ(0, test_data_requests(&self->env) -
		  test_count(&self->env, FUSE_GETXATTR));
	EXPECT_EQ(0, close(fd));
}

TEST_F(good_reply, may_say_keep_cache)
{
	int fd;

	self->file->open_flags |= FOPEN_KEEP_CACHE;
	fd = open_by(self->file, variant->request);
	ASSERT_OR_XFAIL(return, &self->env, fd >= 0, "refuses FOPEN_KEEP_CACHE: %s",
			strerror(errno));
	EXPECT_EQ(0, close(fd));
}

TEST_F(good_reply, may_say_noflush_and_parallel_direct_writes)
{
	int fd;

	self->file->open_flags |= FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES;
	fd = open_by(self->file, variant->request);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
}

TEST_F(good_reply, may_follow_an_error)
{
	int fd;

	self->file->open_error = EACCES;
	ASSERT_EQ(-1, open_by(self->file, variant->request));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, test_releases(self->file));

	self->file->open_error = 0;
	fd = open_by(self->file, variant->request);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
}

FIXTURE(opens)
{
	struct test_env env;
	struct test_file *file;
	int dev;
};

FIXTURE_SETUP(opens)
{
	ASSERT_EQ(0, test_setup(&self->env));
	/* The server sees O_TRUNC, and does what it wants */
	self->env.config.init_flags |= FUSE_ATOMIC_O_TRUNC;
	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
	self->dev = fuse_server_dev(self->env.srv);
}

FIXTURE_TEARDOWN(opens)
{
	test_teardown(&self->env);
}

TEST_F(opens, of_another_backing_inode_are_refused)
{
	struct test_file *other = test_add_file(&self->env, "other", "xxxx", 4);
	int first, second;
	char buf[4];

	ASSERT_TRUE(!!other);
	ASSERT_LT(0, test_back(self->file));
	first = test_open(self->file, O_RDWR);
	ASSERT_LE(0, first);

	self->file->backing_id = id_of_file(other);
	ASSERT_EQ(-1, test_open(self->file, O_RDWR));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(1, test_releases(self->file));

	/* The first one has not noticed */
	EXPECT_EQ(4, read(first, buf, 4));
	EXPECT_EQ(0, memcmp(buf, "data", 4));
	EXPECT_EQ(0, close(first));

	/* With nothing open, the other is as good as any */
	second = test_open(self->file, O_RDWR);
	ASSERT_LE(0, second);
	EXPECT_EQ(4, read(second, buf, 4));
	EXPECT_EQ(0, memcmp(buf, "xxxx", 4));
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(3, test_releases(self->file));
}

TEST_F(opens, of_a_file_with_cached_opens_are_refused)
{
	int cached, fd;

	cached = test_open(self->file, O_RDWR);
	ASSERT_LE(0, cached);
	ASSERT_LT(0, test_back(self->file));
	ASSERT_EQ(-1, test_open(self->file, O_RDWR));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(1, test_releases(self->file));
	EXPECT_EQ(0, close(cached));

	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(3, test_releases(self->file));
}

TEST_F(opens, share_one_id)
{
	int first, second;
	char buf[4];

	ASSERT_LT(0, test_back(self->file));
	first = test_open(self->file, O_RDWR);
	second = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, first);
	ASSERT_LE(0, second);
	EXPECT_EQ(4, pwrite(first, "DATA", 4, 0));
	EXPECT_EQ(4, pread(second, buf, 4, 0));
	EXPECT_EQ(0, memcmp(buf, "DATA", 4));
	EXPECT_EQ(0, close(first));
	EXPECT_EQ(4, pread(second, buf, 4, 0));
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(2, test_releases(self->file));
}

TEST_F(opens, of_a_directory_ignore_the_flag)
{
	int fd;

	self->env.dir_open_flags = FOPEN_PASSTHROUGH;
	self->env.dir_backing_id = -1;
	fd = open(self->env.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	test_sync(&self->env);
	EXPECT_EQ(1, test_count(&self->env, FUSE_OPENDIR));
	EXPECT_EQ(1, test_count(&self->env, FUSE_RELEASEDIR));
}

/* FS_IOC_GETFLAGS, which makes the kernel open the file for itself */
static bool answer_ioctl(struct test_env *env, struct fuse_req *req)
{
	struct fuse_ioctl_out out = { .result = 0 };
	uint32_t flags = 0;

	if (req->in->opcode != FUSE_IOCTL)
		return false;
	fuse_reply2(req, &out, sizeof(out), &flags, sizeof(flags));
	return true;
}

TEST_F(opens, of_the_kernel_for_file_attributes_ignore_the_flag)
{
	int fd, flags = -1;

	self->env.hook = answer_ioctl;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	self->file->open_flags = FOPEN_PASSTHROUGH;
	self->file->backing_id = -1;
	EXPECT_EQ(0, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	EXPECT_EQ(0, flags);
	EXPECT_EQ(2, test_opens(self->file));
	EXPECT_EQ(1, test_releases(self->file));
	EXPECT_EQ(0, close(fd));
}

/* What the kernel may not do on the backing path */

static const char *outcome(int fd)
{
	return fd < 0 ? strerror(errno) : "success";
}

FIXTURE(backing_path)
{
	struct test_env env;
	struct test_file *file;
	char path[PATH_MAX];
	pid_t text;
};

FIXTURE_SETUP(backing_path)
{
	ASSERT_EQ(0, test_setup(&self->env));
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
}

FIXTURE_TEARDOWN(backing_path)
{
	if (self->text > 0) {
		kill(self->text, SIGKILL);
		waitpid(self->text, NULL, 0);
	}
	test_teardown(&self->env);
}

static int open_file_on_ramfs(struct test_env *env, struct test_file **file,
			      char dir[PATH_MAX])
{
	char path[PATH_MAX];

	if (test_mount(env, "ramfs", "ramfs", "mode=755", dir) ||
	    test_write_file(test_pathf(path, "%s/file", dir), "data", 4))
		return -1;
	*file = test_add_path(env, "file", path, O_RDWR);
	return *file ? test_back(*file) : -1;
}

TEST_F(backing_path, without_o_direct_refuses_an_o_direct_open)
{
	int fd;

	ASSERT_LT(0, open_file_on_ramfs(&self->env, &self->file, self->path));
	fd = test_open(self->file, O_RDWR | O_DIRECT);
	ASSERT_OR_XFAIL(return, &self->env, fd == -1 && errno == EIO,
			"answers the open for O_DIRECT with %s", outcome(fd));
	EXPECT_EQ(1, test_releases(self->file));

	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(2, test_releases(self->file));
}

TEST_F(backing_path, is_not_pinned_by_a_refused_open)
{
	struct test_env *env = &self->env;
	int dev = fuse_server_dev(env->srv);

	ASSERT_LT(0, open_file_on_ramfs(env, &self->file, self->path));
	/* One that fails late, and one that fails early */
	ASSERT_EQ(-1, test_open(self->file, O_RDWR | O_DIRECT));
	self->file->open_flags |= FOPEN_STREAM;
	ASSERT_EQ(-1, test_open(self->file, O_RDWR));
	EXPECT_EQ(2, test_releases(self->file));

	ASSERT_EQ(0, test_backing_close(dev, self->file->backing_id));
	test_close_backing(env);
	EXPECT_EQ(0, test_umount(self->path));
}

TEST_F(backing_path, on_a_read_only_mount_refuses_an_open_for_writing)
{
	struct test_env *env = &self->env;
	char path[PATH_MAX];
	int fd;

	ASSERT_EQ(0, test_mount(env, "ro", "tmpfs", "size=1m", self->path));
	test_pathf(path, "%s/file", self->path);
	ASSERT_EQ(0, test_write_file(path, "data", 4));
	ASSERT_EQ(0, mount(NULL, self->path, NULL,
			   MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	self->file = test_add_path(env, "file", path, O_RDONLY);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));

	fd = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, env, fd == -1 && errno == EIO,
			"answers the open for writing with %s", outcome(fd));
	EXPECT_EQ(1, test_releases(self->file));

	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(2, test_releases(self->file));
}

TEST_F(backing_path, of_a_running_program_refuses_an_open_for_writing)
{
	struct test_env *env = &self->env;
	int fd, direct;

	test_pathf(self->path, "%s/text", env->backing);
	self->text = test_run_text(self->path);
	ASSERT_LT(0, self->text);
	direct = open(self->path, O_WRONLY | O_CLOEXEC);
	ASSERT_EQ(-1, direct);
	ASSERT_EQ(ETXTBSY, errno);
	self->file = test_add_path(env, "text", self->path, O_RDONLY);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));

	fd = test_open(self->file, O_RDWR);
	ASSERT_OR_XFAIL(return, env, fd == -1 && errno == EIO,
			"answers the open for writing with %s", outcome(fd));
	EXPECT_EQ(1, test_releases(self->file));

	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(2, test_releases(self->file));
}

static int try_exec(void *path)
{
	execl(path, path, NULL);
	return errno;
}

TEST_F(backing_path, open_for_writing_cannot_be_executed)
{
	struct test_env *env = &self->env;
	int fd, err;

	test_pathf(self->path, "%s/text", env->backing);
	ASSERT_EQ(0, test_write_file(self->path, "#!/", 3));
	ASSERT_EQ(0, chmod(self->path, 0755));
	self->file = test_add_path(env, "text", self->path, O_RDONLY);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));

	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	err = test_in_child(try_exec, self->path);
	EXPECT_EQ(0, close(fd));
	ASSERT_OR_XFAIL(return, env, err == ETXTBSY,
			"says %s to exec of a file open for writing",
			strerror(err));
}

TEST_F(backing_path, that_append_only_forbids_to_write_is_refused)
{
	struct test_env *env = &self->env;
	int append = FS_APPEND_FL;
	int none = 0;
	int fd, err;

	self->file = test_add_file(env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	if (ioctl(self->file->fd, FS_IOC_SETFLAGS, &append))
		SKIP(return, "no append-only files on the backing file system");
	ASSERT_LT(0, test_back(self->file));
	fd = test_open(self->file, O_RDWR);
	err = errno;
	if (fd < 0) {
		EXPECT_EQ(EIO, err);
		EXPECT_EQ(1, test_releases(self->file));
	}
	ioctl(self->file->fd, FS_IOC_SETFLAGS, &none);
	ASSERT_OR_XFAIL(return, env, fd < 0,
			"opens an append-only file for overwriting");
}

/* False if the backing file system has no such files */
static bool becomes_append_only(struct test_file *file)
{
	int append = FS_APPEND_FL;

	return !ioctl(file->fd, FS_IOC_SETFLAGS, &append);
}

static void no_longer_append_only(struct test_file *file)
{
	int none = 0;

	ioctl(file->fd, FS_IOC_SETFLAGS, &none);
}

TEST_F(backing_path, that_is_append_only_is_read_and_appended_to)
{
	char buf[8] = "";
	int rd, wr;
	bool done;

	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	if (!becomes_append_only(self->file))
		SKIP(return, "no append-only files on the backing file system");
	rd = test_open(self->file, O_RDONLY);
	wr = test_open(self->file, O_WRONLY | O_APPEND);
	done = rd >= 0 && wr >= 0 && write(wr, "more", 4) == 4 &&
	       read(rd, buf, sizeof(buf)) == 8;
	no_longer_append_only(self->file);
	ASSERT_TRUE(done);
	EXPECT_EQ(0, memcmp(buf, "datamore", 8));
	EXPECT_EQ(0, close(rd));
	EXPECT_EQ(0, close(wr));
}

/* Operations on a file from which O_APPEND has been taken. 0 or an errno */

static int plain_write(int fd)
{
	return write(fd, "more", 4) < 0 ? errno : 0;
}

static int plain_read(int fd)
{
	char c;

	return pread(fd, &c, 1, 0) < 0 ? errno : 0;
}

static int splice_write(int fd)
{
	return do_write(SPLICE, fd, "more", 4, 0) < 0 ? errno : 0;
}

static int splice_read(int fd)
{
	char c;

	return do_read(SPLICE, fd, &c, 1, 0) < 0 ? errno : 0;
}

static int map(int fd)
{
	void *addr = mmap(NULL, 4, PROT_READ, MAP_PRIVATE, fd, 0);

	return addr == MAP_FAILED ? errno : munmap(addr, 4);
}

/* As fcntl() would have said, had it known the backing file */
TEST_F(backing_path, that_is_append_only_is_not_used_without_o_append)
{
	static int (* const operations[])(int fd) = {
		plain_write, plain_read, splice_write, splice_read, map,
	};
	int err[ARRAY_SIZE(operations)];
	struct stat st;
	size_t i;
	int fd;

	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	if (!becomes_append_only(self->file))
		SKIP(return, "no append-only files on the backing file system");
	fd = test_open(self->file, O_RDWR | O_APPEND);
	if (fd >= 0)
		fcntl(fd, F_SETFL, 0);
	for (i = 0; fd >= 0 && i < ARRAY_SIZE(operations); i++)
		err[i] = operations[i](fd);
	no_longer_append_only(self->file);

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		ASSERT_OR_XFAIL(return, &self->env, err[i] == EPERM,
				"says %s to operation %zu", strerror(err[i]), i);
	ASSERT_EQ(0, fstat(self->file->fd, &st));
	EXPECT_EQ(4, st.st_size);
	EXPECT_EQ(0, close(fd));
}

struct toggler {
	int fd;
	bool stop;
	pthread_t thread;
};

static void *toggle_append(void *arg)
{
	struct toggler *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		fcntl(t->fd, F_SETFL, 0);
		fcntl(t->fd, F_SETFL, O_APPEND);
	}
	return NULL;
}

/* What a write is to do is made up before the file's flags are looked at again */
TEST_F(backing_path, that_is_append_only_is_not_overwritten_in_a_race)
{
	enum way way = test_has_aio() ? AIO : PLAIN;
	struct toggler t = {};
	double end;
	int i, err, done = 0;

	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	if (!becomes_append_only(self->file))
		SKIP(return, "no append-only files on the backing file system");
	t.fd = test_open(self->file, O_WRONLY | O_APPEND);
	err = t.fd < 0 ? errno :
	      pthread_create(&t.thread, NULL, toggle_append, &t);
	end = test_now() + 2;
	for (i = 0; !err && test_now() < end; i++)
		done += do_write(way, t.fd, "X", 1, 0) == 1;
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	if (!err)
		pthread_join(t.thread, NULL);
	no_longer_append_only(self->file);
	ASSERT_EQ(0, err);
	TH_LOG("%d of %d writes appended", done, i);
	EXPECT_LT(0, done);
	ASSERT_OR_XFAIL(return, &self->env,
			test_has(self->file->fd, 0, "data", 4),
			"overwrites an append-only file");
	EXPECT_EQ(0, close(t.fd));
}

/* It may still be overwritten by who has opened it before */
TEST_F(backing_path, that_becomes_append_only_is_written_as_a_local_file)
{
	char path[PATH_MAX];
	ssize_t local, n;
	int local_fd, fd;

	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	local_fd = open(test_backing_path(self->file, path), O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, local_fd);
	if (!becomes_append_only(self->file))
		SKIP(return, "no append-only files on the backing file system");
	local = pwrite(local_fd, "D", 1, 0);
	n = pwrite(fd, "DA", 2, 0);
	no_longer_append_only(self->file);
	ASSERT_EQ(1, local);
	EXPECT_EQ(2, n);
	EXPECT_TRUE(test_has(self->file->fd, 0, "DAta", 4));
	EXPECT_EQ(0, close(local_fd));
	EXPECT_EQ(0, close(fd));
}

static int register_unprivileged(void *arg)
{
	struct test_file *file = arg;
	int id;

	/* Takes away the capabilities that override permissions, not others */
	setfsuid(TEST_UID);
	id = fuse_backing_open(fuse_server_dev(file->env->srv), file->fd);
	return id > 0 && id < 255 ? id : 255;
}

TEST_F(backing_path, that_its_registrar_may_not_open_is_refused)
{
	struct test_env *env = &self->env;
	struct test_file *file = test_add_file(env, "file", "data", 4);
	int fd;

	ASSERT_TRUE(!!file);
	ASSERT_EQ(0, fchmod(file->fd, 0644));
	file->backing_id = test_in_child(register_unprivileged, file);
	ASSERT_NE(255, file->backing_id);
	file->open_flags = FOPEN_PASSTHROUGH;

	/* What root, who opens it, may do does not count */
	fd = test_open(file, O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	fd = test_open(file, O_RDWR);
	ASSERT_OR_XFAIL(return, env, fd == -1 && errno == EIO,
			"answers the open for writing with %s", outcome(fd));
	EXPECT_EQ(2, test_releases(file));
}

/* Whoever has opened a file with a lease is told, and has some time to end that */

FIXTURE(lease)
{
	struct test_env env;
	struct test_file *file;
};

FIXTURE_SETUP(lease)
{
	ASSERT_EQ(0, test_setup(&self->env));
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	signal(SIGIO, SIG_IGN);
	if (fcntl(self->file->fd, F_SETLEASE, F_WRLCK))
		SKIP(return, "no leases on the backing file system: %s",
		     strerror(errno));
}

FIXTURE_TEARDOWN(lease)
{
	test_teardown(&self->env);
}

TEST_F(lease, refuses_an_open_that_does_not_wait)
{
	struct test_file *file = self->file;
	int fd, err;

	fd = test_open(file, O_RDWR | O_NONBLOCK);
	err = errno;
	ASSERT_EQ(0, fcntl(file->fd, F_SETLEASE, F_UNLCK));
	ASSERT_EQ(-1, fd);
	EXPECT_EQ(1, test_releases(file));
	ASSERT_OR_XFAIL(return, &self->env, err == EWOULDBLOCK,
			"refuses an open while there is a lease with %s",
			strerror(err));
	fd = test_open(file, O_RDWR | O_NONBLOCK);
	EXPECT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
}

static void on_signal(int sig)
{
	(void)sig;
}

static bool has_ended(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
	       info.si_pid;
}

/*
 * Opens the file, which has a lease, in a process that gets signals meanwhile, and
 * takes the lease back if that is not the end of it. The errno, or 0, or -1
 */
static int open_with_signals(struct test_file *file, int sa_flags, int signals)
{
	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = sa_flags };
	int fd, i;
	pid_t pid;

	/* Now, so that no signal ends the process */
	sigaction(SIGUSR1, &action, NULL);
	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid) {
		fd = test_open(file, O_RDWR);
		_exit(fd < 0 ? errno : 0);
	}
	for (i = 0; i < signals && !has_ended(pid); i++) {
		usleep(70000);
		kill(pid, SIGUSR1);
	}
	if (fcntl(file->fd, F_SETLEASE, F_UNLCK))
		return -1;
	return test_wait(pid, 20);
}

TEST_F(lease, is_waited_for_until_a_signal)
{
	struct test_file *file = self->file;
	int err;

	err = open_with_signals(file, 0, 200);
	EXPECT_EQ(1, test_releases(file));
	ASSERT_OR_XFAIL(return, &self->env, err == EINTR,
			"ends an open that gets a signal with %s", strerror(err));
}

TEST_F(lease, is_waited_for_again_after_a_signal)
{
	struct test_file *file = self->file;
	int err;

	err = open_with_signals(file, SA_RESTART, 10);
	ASSERT_OR_XFAIL(return, &self->env, !err,
			"does not open it after a signal: %s", strerror(err));
	/* One for each try */
	EXPECT_LT(1, test_releases(file));
}

/*
 * With a writeback cache there is no passthrough, but times that the kernel keeps
 * until they are written to the server, by each close at the latest.
 */

FIXTURE(writeback)
{
	struct test_env env;
	struct test_file *file;
};

FIXTURE_SETUP(writeback)
{
	static const struct timespec old[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	env->config.init_flags |= FUSE_WRITEBACK_CACHE | FUSE_ATOMIC_O_TRUNC;
	self->file = test_add_file(env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	/* So that truncation does change the times */
	ASSERT_EQ(0, futimens(self->file->fd, old));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->file->open_flags = FOPEN_PASSTHROUGH;
	self->file->backing_id = 1;
}

FIXTURE_TEARDOWN(writeback)
{
	test_teardown(&self->env);
}

TEST_F(writeback, leaves_no_times_of_a_refused_open_unwritten)
{
	struct test_env *env = &self->env;
	int fd, err, sent;

	fd = test_open(self->file, O_RDONLY | O_TRUNC);
	err = errno;
	ASSERT_EQ(1, test_releases(self->file));
	sent = test_count(env, FUSE_SETATTR);
	/* Whatever was left is not to be there when the inode goes away */
	self->file->open_flags = 0;
	EXPECT_EQ(0, close(test_open(self->file, O_RDONLY)));
	EXPECT_EQ(-1, fd);
	EXPECT_EQ(EIO, err);
	ASSERT_OR_XFAIL(return, env, sent == 1,
			"writes the times %d times", sent);
}

/* What the user's flags do to the backing file */

TEST_F(opens, with_o_trunc_leave_truncation_to_the_server)
{
	struct stat st;
	int fd;

	ASSERT_LT(0, test_back(self->file));
	fd = test_open(self->file, O_RDWR | O_TRUNC);
	ASSERT_LE(0, fd);
	ASSERT_NE(0u, self->file->user_flags & O_TRUNC);
	ASSERT_EQ(0, fstat(self->file->fd, &st));
	EXPECT_EQ(4, st.st_size);
	EXPECT_EQ(0, close(fd));
}

TEST_F(opens, with_o_creat_and_o_excl_leave_creation_to_the_server)
{
	int flags = O_RDWR | O_CREAT | O_EXCL | O_TRUNC;
	struct test_file *file;
	char buf[4];
	int fd;

	file = test_add_absent(&self->env, "new", "data", 4);
	ASSERT_TRUE(!!file);
	ASSERT_LT(0, test_back(file));
	fd = test_open(file, flags);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, test_count(&self->env, FUSE_CREATE));
	EXPECT_EQ(4, pread(fd, buf, 4, 0));
	EXPECT_EQ(0, memcmp(buf, "data", 4));
	EXPECT_EQ(0, close(fd));
}

TEST_F(opens, show_the_user_every_flag)
{
	int flags = O_RDWR | O_APPEND | O_NONBLOCK;
	int fd, seen;

	ASSERT_LT(0, test_back(self->file));
	fd = test_open(self->file, flags | O_TRUNC);
	ASSERT_LE(0, fd);
	seen = fcntl(fd, F_GETFL);
	EXPECT_EQ(flags, seen & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	EXPECT_EQ(0, close(fd));
}

/*
 * A second FUSE file system, as the backing one, sees the flags with which the
 * kernel opens its file there.
 */
FIXTURE(stacked)
{
	struct test_env lower;
	struct test_env upper;
	struct test_file *lower_file;
	struct test_file *upper_file;
};

FIXTURE_VARIANT(stacked)
{
	int flags;
};

FIXTURE_VARIANT_ADD(stacked, open)
{
	.flags = 0,
};

/* Not O_EXCL, which takes O_TRUNC away */
FIXTURE_VARIANT_ADD(stacked, create)
{
	.flags = O_CREAT,
};

FIXTURE_SETUP(stacked)
{
	char path[PATH_MAX];

	ASSERT_EQ(0, test_setup(&self->lower));
	ASSERT_EQ(0, test_setup(&self->upper));
	self->lower.config.init_flags |= FUSE_ATOMIC_O_TRUNC;
	self->lower.config.init_flags &= ~FUSE_PASSTHROUGH;
	self->upper.config.init_flags |= FUSE_ATOMIC_O_TRUNC;

	self->lower_file = test_add_file(&self->lower, "file", "data", 4);
	ASSERT_TRUE(!!self->lower_file);
	ASSERT_EQ(0, test_start(&self->lower));
	test_path(self->lower_file, path);
	self->upper_file = test_add_path(&self->upper, "file", path, O_RDWR);
	ASSERT_TRUE(!!self->upper_file);
	self->upper_file->absent = variant->flags & O_CREAT;
	ASSERT_EQ(0, test_start(&self->upper));
	TEST_NEEDS_PASSTHROUGH(&self->upper);
	ASSERT_LT(0, test_back(self->upper_file));
}

FIXTURE_TEARDOWN(stacked)
{
	test_teardown(&self->upper);
	test_teardown(&self->lower);
}

TEST_F(stacked, the_backing_file_is_opened_without_o_trunc)
{
	int flags = O_RDWR | O_TRUNC | O_APPEND | variant->flags;
	int opens = test_opens(self->lower_file);
	int fd = test_open(self->upper_file, flags);
	uint32_t seen;
	char buf[4];

	ASSERT_LE(0, fd);
	ASSERT_NE(0u, self->upper_file->user_flags & O_TRUNC);
	/* The kernel's own open */
	ASSERT_EQ(opens + 1, test_opens(self->lower_file));
	seen = self->lower_file->user_flags;
	EXPECT_EQ((uint32_t)(O_RDWR | O_APPEND),
		  seen & (O_ACCMODE | O_APPEND));
	EXPECT_EQ(0u, seen & (O_CREAT | O_EXCL | O_NOCTTY));
	ASSERT_OR_XFAIL(return, &self->upper, !(seen & O_TRUNC),
			"opens the backing file with O_TRUNC (flags %#o)",
			seen);
	EXPECT_EQ(4, pread(fd, buf, 4, 0));
	EXPECT_EQ(0, close(fd));
}

/* The tracepoint that names the cause of a refusal */

#define TRACEFS	"/sys/kernel/tracing"
#define EVENT	TRACEFS "/events/fuse/fuse_passthrough_refused"

/* Of the initial PID namespace, as fixed by the kernel (PROC_PID_INIT_INO) */
#define PID_NS_INO	0xeffffffcU

static struct test_knob trace_on[] = {
	{ .path = EVENT "/enable", .value = "1", .needed = true },
	{ .path = TRACEFS "/tracing_on", .value = "1", .needed = true },
};

/* Why the trace cannot be read here, or NULL */
static const char *trace_missing(void)
{
	struct stat st;

	if (access(TRACEFS "/events", F_OK)) {
		mkdir(TRACEFS, 0755);
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	}
	if (access(TRACEFS "/events", F_OK))
		return "no tracefs in this kernel";
	if (stat("/proc/self/ns/pid", &st) || st.st_ino != PID_NS_INO)
		return "the trace has other process ids than this PID namespace";
	return NULL;
}

/*
 * The last line of the trace that this process is to blame for, and the number
 * of such lines. The buffer is everybody's, so it is left as it is.
 */
static int trace_read(char *line, size_t size)
{
	char buf[512], self[16];
	int lines = 0;
	FILE *trace;

	trace = fopen(TRACEFS "/trace", "re");
	if (!trace)
		return -1;
	snprintf(self, sizeof(self), "-%d ", getpid());
	while (fgets(buf, sizeof(buf), trace)) {
		if (buf[0] == '#' || !strstr(buf, self) ||
		    !strstr(buf, " fuse_passthrough_refused: "))
			continue;
		lines++;
		snprintf(line, size, "%s", buf);
	}
	fclose(trace);
	return lines;
}

FIXTURE(tracepoint)
{
	struct test_env env;
	struct test_file *file;
};

FIXTURE_VARIANT(tracepoint)
{
	const char *text;	/* in the line of the trace */
	uint32_t flags;
	int (*id)(struct test_file *file);
	bool not_negotiated;
	bool cached_open;
	int user_flags;
};

FIXTURE_VARIANT_ADD(tracepoint, not_negotiated)
{
	.text = "reason=\"not enabled on this connection\"",
	.id = id_one, .not_negotiated = true,
};

FIXTURE_VARIANT_ADD(tracepoint, negative_id)
{
	.text = "reason=\"backing id is negative\"", .id = id_minus_one,
};

FIXTURE_VARIANT_ADD(tracepoint, unknown_id)
{
	.text = "reason=\"no such backing id\"", .id = id_unknown,
};

FIXTURE_VARIANT_ADD(tracepoint, zero_id)
{
	.text = "zero", .id = id_zero,
};

FIXTURE_VARIANT_ADD(tracepoint, open_flags)
{
	.text = "open_flags=0x90", .id = id_of_file, .flags = FOPEN_STREAM,
};

FIXTURE_VARIANT_ADD(tracepoint, cached_opens)
{
	.text = "cached opens", .id = id_of_file, .cached_open = true,
};

FIXTURE_VARIANT_ADD(tracepoint, no_o_direct)
{
	.text = "error=-22", .user_flags = O_DIRECT,
};

FIXTURE_SETUP(tracepoint)
{
	struct test_env *env = &self->env;
	char ramfs[PATH_MAX];

	ASSERT_EQ(0, test_setup(env));
	if (variant->not_negotiated)
		env->config.init_flags &= ~FUSE_PASSTHROUGH;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	if (variant->id) {
		self->file = test_add_file(env, "file", "data", 4);
		ASSERT_TRUE(!!self->file);
		self->file->backing_id = variant->id(self->file);
	} else {
		ASSERT_LT(0, open_file_on_ramfs(env, &self->file, ramfs));
	}
}

FIXTURE_TEARDOWN(tracepoint)
{
	test_restore_knobs(trace_on, ARRAY_SIZE(trace_on));
	test_teardown(&self->env);
}

TEST_F(tracepoint, names_the_cause_of_a_refusal)
{
	struct test_env *env = &self->env;
	struct test_file *file = self->file;
	char line[512] = "", expected[64];
	int cached = -1;
	struct stat st;

	if (trace_missing())
		SKIP(return, "%s", trace_missing());
	ASSERT_OR_XFAIL(return, env, !access(EVENT, F_OK),
			"has no event fuse:fuse_passthrough_refused");
	ASSERT_EQ(0, stat(env->mnt, &st));
	ASSERT_EQ(0, test_set_knobs(trace_on, ARRAY_SIZE(trace_on)));

	if (variant->cached_open) {
		cached = test_open(file, O_RDONLY);
		ASSERT_LE(0, cached);
	}
	file->open_flags = FOPEN_PASSTHROUGH | variant->flags;
	ASSERT_EQ(-1, test_open(file, O_RDWR | variant->user_flags));
	EXPECT_EQ(EIO, errno);

	EXPECT_EQ(1, trace_read(line, sizeof(line)));
	TH_LOG("%s", line);
	EXPECT_TRUE(!!strstr(line, variant->text));
	snprintf(expected, sizeof(expected), "connection=%u:%u ",
		 major(st.st_dev), minor(st.st_dev));
	EXPECT_TRUE(!!strstr(line, expected));
	snprintf(expected, sizeof(expected), "nodeid=%u backing_id=%d ",
		 TEST_FILE_ID(0), file->backing_id);
	EXPECT_TRUE(!!strstr(line, expected));
	if (cached >= 0)
		close(cached);
}

TEST_F(opens, are_not_traced_if_they_are_good)
{
	char line[512] = "";
	int fd, lines;

	if (trace_missing())
		SKIP(return, "%s", trace_missing());
	ASSERT_OR_XFAIL(return, &self->env, !access(EVENT, F_OK),
			"has no event fuse:fuse_passthrough_refused");
	ASSERT_LT(0, test_back(self->file));
	ASSERT_EQ(0, test_set_knobs(trace_on, ARRAY_SIZE(trace_on)));
	fd = test_open(self->file, O_RDWR);
	lines = trace_read(line, sizeof(line));
	test_restore_knobs(trace_on, ARRAY_SIZE(trace_on));
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, lines);
}

TEST_HARNESS_MAIN
