// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough in a stack of file systems: over and under overlayfs, and
 * over FUSE. A file of a stack behaves as one of FUSE passthrough over a
 * plain file system does, and no server in the stack is asked for data.
 */
#include "test_common.h"

#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE	4096
#define SIZE	(8 * PAGE)	/* of the file; a pipe holds it */
#define OLD	1000		/* seconds; a time that something moves */

static const struct timespec old_times[2] = { { OLD, 0 }, { OLD, 0 } };

/* The mirror server, for an overlay's upper layer */
struct mirror {
	pid_t pid;		/* 0: none */
	char mnt[PATH_MAX];
	char stats[PATH_MAX];
};

/*
 * A file below which there are some file systems. The server of env is on top,
 * or below an overlay. The server of inner is below that of env.
 */
struct stack {
	struct test_env env;
	struct test_env inner;
	struct test_file *file;
	struct test_file *inner_file;
	struct mirror mirror;

	char top[PATH_MAX];	/* where users open it */
	char bottom[PATH_MAX];	/* where the data are, once it is open for writing */
	char overlay[PATH_MAX];	/* mounted; empty if there is none */
	const char *below;	/* mount that the server of env has files of */
	bool below_is_gone;	/* unmounted by the test */

	int fd;			/* of top */
	int read_fd;		/* of top, from before it was copied up, or as fd */
	int bottom_fd;
	int local_fd;		/* a file that no other file system lies over */
	char *data;		/* what the files have at first, of SIZE */
	char *new;		/* something else, at the start of a page too */
	char *buf;
	char *map;		/* of fd, in some tests */
	int asked;		/* requests for data before the test */
	const char *missing;	/* why there is no such stack here */
};

/* Data requests, to servers in passthrough only */

static int requests_for_data(struct test_env *env)
{
	int n = test_count(env, FUSE_READ) + test_count(env, FUSE_WRITE);

	/* Mainline is found out by io_test */
	return test_on_mainline(env) ? n : n + test_count(env, FUSE_GETXATTR);
}

/* As the mirror server says when it is asked to; -1 if it does not */
static int mirror_count(struct mirror *mirror, const char *opcode)
{
	size_t len = strlen(opcode);
	int i, count = 0;
	FILE *f = NULL;
	char line[128];

	unlink(mirror->stats);
	kill(mirror->pid, SIGUSR1);
	for (i = 0; i < 500 && !f; i++) {
		usleep(10000);
		f = fopen(mirror->stats, "r");
	}
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, opcode, len) && line[len] == ' ')
			count = strtol(line + len, NULL, 10);
	fclose(f);
	return count;
}

/* -1 if the mirror server does not say */
static int asked_for_data(struct stack *s)
{
	int n = requests_for_data(&s->env);
	int reads, writes;

	if (s->inner_file && s->inner_file->backing_id)
		n += requests_for_data(&s->inner);
	if (!s->mirror.pid)
		return n;
	/* overlayfs asks an upper layer for attributes of its own */
	reads = mirror_count(&s->mirror, "READ");
	writes = mirror_count(&s->mirror, "WRITE");
	return reads < 0 || writes < 0 ? -1 : n + reads + writes;
}

/* Building stacks. Each function returns 0, or -1 with errno set. */

static int make_dirs(const char *parent, const char * const names[])
{
	char path[PATH_MAX];

	for (; *names; names++)
		if (mkdir(test_pathf(path, "%s/%s", parent, *names), 0755))
			return -1;
	return 0;
}

/* Layers @upper/upper and @upper/work, which exist, over @lower */
static int mount_overlay(struct test_env *env, const char *lower,
			 const char *upper, char overlay[PATH_MAX])
{
	char options[PATH_MAX];

	test_pathf(options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work",
		   lower, upper, upper);
	if (test_mount(env, "overlay", "overlay", options, overlay)) {
		overlay[0] = 0;
		return -1;
	}
	return 0;
}

/* An overlay over plain directories, with the file in one of them */
static int make_overlay(struct stack *s, const char *layer)
{
	static const char * const dirs[] = { "lower", "upper", "work", NULL };
	char lower[PATH_MAX], path[PATH_MAX];
	const char *backing = s->env.backing;

	test_pathf(s->bottom, "%s/upper/file", backing);
	test_pathf(path, "%s/%s/file", backing, layer);
	if (make_dirs(backing, dirs) || test_write_file(path, s->data, SIZE))
		return -1;
	return mount_overlay(&s->env, test_pathf(lower, "%s/lower", backing),
			     backing, s->overlay);
}

/*
 * Has the kernel learn that a server knows no FLUSH. Else a process that dies
 * with files of its own servers open would wait for the reply to one.
 */
static int open_once(struct test_file *file)
{
	int fd = file ? test_open(file, O_RDONLY) : -1;

	return fd < 0 ? -1 : close(fd);
}

/* Serves a file at @path, and has it backed by that. */
static int serve(struct test_env *env, const char *path, int flags,
		 uint32_t depth, struct test_file **file)
{
	env->config.max_stack_depth = depth;
	if (test_start(env))
		return -1;
	*file = test_add_path(env, "file", path, flags);
	return *file && test_back(*file) > 0 ? open_once(*file) : -1;
}

static int fuse_over_overlay(struct stack *s, const char *layer, int flags)
{
	char path[PATH_MAX];

	if (make_overlay(s, layer))
		return -1;
	s->below = s->overlay;
	test_pathf(path, "%s/file", s->overlay);
	if (serve(&s->env, path, flags, 2, &s->file))
		return -1;
	test_path(s->file, s->top);
	return 0;
}

static int fuse_over_upper(struct stack *s)
{
	return fuse_over_overlay(s, "upper", O_RDWR);
}

/* The server does not write, so that it is the user's open that copies up. */
static int fuse_over_lower(struct stack *s)
{
	return fuse_over_overlay(s, "lower", O_RDONLY);
}

static int fuse_over_copied_up(struct stack *s)
{
	if (fuse_over_lower(s))
		return -1;
	s->read_fd = test_open(s->file, O_RDONLY);
	return s->read_fd < 0 || !access(s->bottom, F_OK) ? -1 : 0;
}

static int start_inner(struct stack *s, bool passthrough)
{
	if (test_setup(&s->inner))
		return -1;
	if (!passthrough)
		s->inner.config.init_flags &= ~FUSE_PASSTHROUGH;
	if (test_start(&s->inner))
		return -1;
	s->below = s->inner.mnt;
	s->inner_file = test_add_file(&s->inner, "file", s->data, SIZE);
	if (!s->inner_file)
		return -1;
	test_backing_path(s->inner_file, s->bottom);
	if (passthrough && test_back(s->inner_file) < 0)
		return -1;
	return open_once(s->inner_file);
}

static int fuse_over_fuse(struct stack *s)
{
	char path[PATH_MAX];

	if (start_inner(s, true) ||
	    serve(&s->env, test_path(s->inner_file, path), O_RDWR, 2, &s->file))
		return -1;
	test_path(s->file, s->top);
	return 0;
}

static int fuse_over_plain_fuse(struct stack *s)
{
	char path[PATH_MAX];

	if (start_inner(s, false) ||
	    serve(&s->env, test_path(s->inner_file, path), O_RDWR, 1, &s->file))
		return -1;
	test_path(s->file, s->top);
	return 0;
}

static bool is_fuse(const char *path)
{
	struct statfs st;

	return !statfs(path, &st) && st.f_type == FUSE_SUPER_MAGIC;
}

/* It lies beside this program. Returns when it has been mounted. */
static int start_mirror(struct mirror *mirror, const char *source)
{
	char path[PATH_MAX], *slash;
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int i;

	if (len < 0)
		return -1;
	path[len] = 0;
	slash = strrchr(path, '/') + 1;
	snprintf(slash, path + sizeof(path) - slash, "mirror_server");

	mirror->pid = fork();
	if (!mirror->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(path, path, "-f", "-s", mirror->stats, source,
		      mirror->mnt, NULL);
		_exit(127);
	}
	for (i = 0; i < 1000 && !is_fuse(mirror->mnt); i++)
		usleep(10000);
	return is_fuse(mirror->mnt) ? 0 : -1;
}

static int overlay_over_fuse(struct stack *s)
{
	static const char * const dirs[] = { "lower", "disk", NULL };
	static const char * const layers[] = { "upper", "work", NULL };
	char lower[PATH_MAX], disk[PATH_MAX];
	struct mirror *mirror = &s->mirror;

	/* No file of that is in use: it tells what the kernel can do */
	if (test_start(&s->env))
		return -1;
	test_pathf(mirror->mnt, "%s/mirror", s->env.dir);
	test_pathf(mirror->stats, "%s/stats", s->env.dir);
	test_pathf(disk, "%s/disk", s->env.backing);
	test_pathf(lower, "%s/lower", s->env.backing);
	if (make_dirs(s->env.backing, dirs) || make_dirs(disk, layers) ||
	    mkdir(mirror->mnt, 0755) || start_mirror(mirror, disk))
		return -1;
	if (mount_overlay(&s->env, lower, mirror->mnt, s->overlay)) {
		s->missing = "overlayfs does not take FUSE as an upper layer";
		return -1;
	}
	test_pathf(s->top, "%s/file", s->overlay);
	test_pathf(s->bottom, "%s/upper/file", disk);
	return test_write_file(s->top, s->data, SIZE);
}

/* Setting up, and taking down from the top to the bottom */

static int begin_stack(struct stack *s)
{
	if (posix_memalign((void **)&s->data, PAGE, SIZE) ||
	    posix_memalign((void **)&s->new, PAGE, SIZE) ||
	    posix_memalign((void **)&s->buf, PAGE, SIZE))
		return -1;
	test_pattern(s->data, SIZE, 1);
	test_pattern(s->new, SIZE, 2);
	s->fd = -1;
	s->read_fd = -1;
	s->bottom_fd = -1;
	s->local_fd = -1;
	if (test_setup(&s->env))
		return -1;
	if (s->env.config.max_stack_depth > 1)
		s->missing = "the backing file system is a stack already";
	return 0;
}

static int open_stack(struct stack *s)
{
	char path[PATH_MAX];

	test_pathf(path, "%s/local", s->env.backing);
	if (test_write_file(path, s->data, SIZE))
		return -1;
	s->local_fd = open(path, O_RDWR | O_CLOEXEC);
	s->fd = open(s->top, O_RDWR | O_CLOEXEC);
	s->bottom_fd = open(s->bottom, O_RDWR | O_CLOEXEC);
	if (s->read_fd < 0)
		s->read_fd = dup(s->fd);
	return s->fd < 0 || s->bottom_fd < 0 || s->local_fd < 0 ? -1 : 0;
}

static void close_stack(struct stack *s)
{
	if (s->map) {
		/* A server of this process cannot write while munmap waits */
		msync(s->map, SIZE, MS_SYNC);
		munmap(s->map, SIZE);
	}
	s->map = NULL;
	test_close(&s->fd);
	test_close(&s->read_fd);
	test_close(&s->bottom_fd);
	test_close(&s->local_fd);
}

static int stop_env(struct test_env *env, bool mounted)
{
	int ret = mounted && env->srv ? test_umount(env->mnt) : 0;

	test_teardown(env);
	return ret;
}

static int stop_overlay(struct stack *s)
{
	return s->overlay[0] && !s->below_is_gone ? test_umount(s->overlay) : 0;
}

static int stop_mirror(struct mirror *mirror)
{
	int ret;

	if (!mirror->pid)
		return 0;
	ret = test_umount(mirror->mnt);
	if (ret)
		kill(mirror->pid, SIGKILL);
	waitpid(mirror->pid, NULL, 0);
	mirror->pid = 0;
	return ret;
}

/* From the top to the bottom. What is left busy somewhere makes it fail. */
static int end_stack(struct stack *s)
{
	int ret;

	close_stack(s);
	/* An overlay is not always below the server, but never mounted on it */
	if (s->below)
		ret = stop_env(&s->env, true) | stop_overlay(s);
	else
		ret = stop_overlay(s) | stop_mirror(&s->mirror) |
		      stop_env(&s->env, true);
	if (s->inner.dir[0])
		ret |= stop_env(&s->inner, !s->below_is_gone);
	free(s->data);
	free(s->new);
	free(s->buf);
	return ret;
}

FIXTURE(stack)
{
	struct stack s;
};

FIXTURE_VARIANT(stack)
{
	int (*build)(struct stack *s);
	/* A page cache of its own, and no passthrough, somewhere below */
	bool cached;
};

FIXTURE_VARIANT_ADD(stack, fuse_over_an_upper_file)
{
	.build = fuse_over_upper,
};

FIXTURE_VARIANT_ADD(stack, fuse_over_a_lower_file)
{
	.build = fuse_over_lower,
};

FIXTURE_VARIANT_ADD(stack, fuse_over_a_file_copied_up_while_open)
{
	.build = fuse_over_copied_up,
};

FIXTURE_VARIANT_ADD(stack, fuse_over_fuse)
{
	.build = fuse_over_fuse,
};

FIXTURE_VARIANT_ADD(stack, fuse_over_plain_fuse)
{
	.build = fuse_over_plain_fuse,
	.cached = true,
};

FIXTURE_VARIANT_ADD(stack, overlay_over_fuse)
{
	.build = overlay_over_fuse,
};

FIXTURE_SETUP(stack)
{
	struct stack *s = &self->s;
	int err = 0;

	ASSERT_EQ(0, begin_stack(s));
	if (!s->missing)
		err = variant->build(s);
	if (s->missing)
		SKIP(_exit(255), "%s", s->missing);
	if (s->env.srv)
		TEST_NEEDS_PASSTHROUGH(&s->env);
	/* Passthrough at the bottom is what the top could not be started without */
	else if (err && s->inner.srv)
		TEST_NEEDS_PASSTHROUGH(&s->inner);
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, open_stack(s));
	s->asked = asked_for_data(s);
	ASSERT_LE(0, s->asked);
}

/*
 * Each test also proves that no server was asked for data, and that the whole
 * stack can be unmounted.
 */
FIXTURE_TEARDOWN(stack)
{
	if (self->s.env.srv)
		EXPECT_EQ(self->s.asked, asked_for_data(&self->s));
	EXPECT_EQ(0, end_stack(&self->s));
}

/* Reading */

TEST_F(stack, read_gets_what_is_below)
{
	struct stack *s = &self->s;
	struct iovec iov = { s->buf, 5000 };

	ASSERT_EQ(SIZE, read(s->read_fd, s->buf, SIZE));
	EXPECT_EQ(0, memcmp(s->buf, s->data, SIZE));
	EXPECT_EQ(0, read(s->read_fd, s->buf, SIZE));
	ASSERT_EQ(5000, preadv2(s->read_fd, &iov, 1, 4095, 0));
	EXPECT_EQ(0, memcmp(s->buf, s->data + 4095, 5000));
}

TEST_F(stack, read_sees_what_was_written_below)
{
	struct stack *s = &self->s;

	if (variant->cached)
		SKIP(return, "a page cache in the stack knows nothing of that");
	ASSERT_EQ(100, pwrite(s->bottom_fd, s->new, 100, SIZE - 50));
	ASSERT_EQ(100, pread(s->read_fd, s->buf, SIZE, SIZE - 50));
	EXPECT_EQ(0, memcmp(s->buf, s->new, 100));
}

TEST_F(stack, splice_from_it_gets_what_is_below)
{
	struct stack *s = &self->s;

	ASSERT_EQ(5000, do_read(SPLICE, s->read_fd, s->buf, 5000, 4095));
	EXPECT_EQ(0, memcmp(s->buf, s->data + 4095, 5000));
}

TEST_F(stack, sendfile_from_it_gets_what_is_below)
{
	struct stack *s = &self->s;
	off_t off = 0;

	ASSERT_EQ(SIZE, pwrite(s->local_fd, s->new, SIZE, 0));
	ASSERT_EQ(SIZE, sendfile(s->local_fd, s->read_fd, &off, 2 * SIZE));
	EXPECT_TRUE(test_has(s->local_fd, 0, s->data, SIZE));
}

TEST_F(stack, io_submit_gets_what_is_below)
{
	struct stack *s = &self->s;

	ASSERT_EQ(5000, do_read(AIO, s->read_fd, s->buf, 5000, 4095));
	EXPECT_EQ(0, memcmp(s->buf, s->data + 4095, 5000));
}

/* Writing */

TEST_F(stack, write_is_seen_below)
{
	struct stack *s = &self->s;

	ASSERT_EQ(5000, pwrite(s->fd, s->new, 5000, 4095));
	EXPECT_TRUE(test_has(s->bottom_fd, 4095, s->new, 5000));
	EXPECT_TRUE(test_has(s->bottom_fd, 0, s->data, 4095));
	EXPECT_TRUE(test_has(s->read_fd, 4095, s->new, 5000));
}

TEST_F(stack, append_goes_to_the_end_of_what_is_below)
{
	struct stack *s = &self->s;
	int fd = open(s->top, O_WRONLY | O_APPEND | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ(100, write(fd, s->new, 100));
	EXPECT_TRUE(test_has(s->bottom_fd, SIZE, s->new, 100));
	EXPECT_EQ(SIZE + 100, lseek(s->bottom_fd, 0, SEEK_END));
	EXPECT_EQ(SIZE + 100, lseek(s->fd, 0, SEEK_END));
	EXPECT_EQ(0, close(fd));
}

TEST_F(stack, append_set_by_fcntl_goes_to_the_end_of_what_is_below)
{
	struct stack *s = &self->s;

	ASSERT_EQ(10, pwrite(s->fd, s->new, 10, 0));
	ASSERT_EQ(0, fcntl(s->fd, F_SETFL, O_APPEND));
	ASSERT_EQ(100, write(s->fd, s->new, 100));
	EXPECT_TRUE(test_has(s->bottom_fd, SIZE, s->new, 100));
	ASSERT_EQ(0, fcntl(s->fd, F_SETFL, 0));
	ASSERT_EQ(100, pwrite(s->fd, s->new, 100, 50));
	ASSERT_OR_XFAIL(return, &s->env,
			lseek(s->bottom_fd, 0, SEEK_END) == SIZE + 100,
			"appends after O_APPEND was cleared");
	EXPECT_TRUE(test_has(s->bottom_fd, 50, s->new, 100));
}

TEST_F(stack, splice_to_it_is_seen_below)
{
	struct stack *s = &self->s;

	ASSERT_EQ(5000, do_write(SPLICE, s->fd, s->new, 5000, 4095));
	EXPECT_TRUE(test_has(s->bottom_fd, 4095, s->new, 5000));
	EXPECT_TRUE(test_has(s->bottom_fd, 0, s->data, 4095));
}

TEST_F(stack, sendfile_to_it_is_seen_below)
{
	struct stack *s = &self->s;
	off_t off = 0;

	ASSERT_EQ(SIZE, pwrite(s->local_fd, s->new, SIZE, 0));
	ASSERT_EQ(100, lseek(s->fd, 100, SEEK_SET));
	ASSERT_EQ(SIZE, sendfile(s->fd, s->local_fd, &off, SIZE));
	EXPECT_TRUE(test_has(s->bottom_fd, 100, s->new, SIZE));
	EXPECT_EQ(SIZE + 100, lseek(s->fd, 0, SEEK_END));
}

TEST_F(stack, io_submit_is_seen_below)
{
	struct stack *s = &self->s;

	ASSERT_EQ(5000, do_write(AIO, s->fd, s->new, 5000, SIZE));
	EXPECT_TRUE(test_has(s->bottom_fd, SIZE, s->new, 5000));
	EXPECT_EQ(SIZE + 5000, lseek(s->fd, 0, SEEK_END));
}

/* O_DIRECT */

/* What reading leaves in the page cache of the file at the bottom */
static int cached_by_read(int fd, int bottom_fd, char *buf)
{
	if (test_drop_cache(bottom_fd))
		return -errno;
	if (pread(fd, buf, PAGE, PAGE) != PAGE)
		return -errno;
	return test_cached_pages(bottom_fd, SIZE);
}

static int reopen_direct(struct stack *s)
{
	char path[PATH_MAX];

	close(s->local_fd);
	close(s->fd);
	test_pathf(path, "%s/local", s->env.backing);
	s->local_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	s->fd = open(s->top, O_RDWR | O_DIRECT | O_CLOEXEC);
	return s->local_fd < 0 ? -1 : 0;
}

#define NO_DIRECT "no O_DIRECT on the backing file system"

TEST_F(stack, o_direct_bypasses_every_page_cache_as_locally)
{
	struct stack *s = &self->s;

	if (reopen_direct(s))
		SKIP(return, NO_DIRECT);
	ASSERT_LE(0, s->fd);
	ASSERT_EQ(2 * PAGE, pwrite(s->fd, s->new, 2 * PAGE, SIZE - PAGE));
	EXPECT_TRUE(test_has(s->bottom_fd, SIZE - PAGE, s->new, 2 * PAGE));
	ASSERT_EQ(PAGE, pread(s->fd, s->buf, PAGE, PAGE));
	EXPECT_EQ(0, memcmp(s->buf, s->data + PAGE, PAGE));
	if (variant->cached)
		return;
	EXPECT_EQ(cached_by_read(s->local_fd, s->local_fd, s->buf),
		  cached_by_read(s->fd, s->bottom_fd, s->buf));
}

TEST_F(stack, o_direct_unaligned_is_as_locally)
{
	struct stack *s = &self->s;

	if (variant->cached)
		SKIP(return, "FUSE itself takes what is not aligned");
	if (reopen_direct(s))
		SKIP(return, NO_DIRECT);
	ASSERT_LE(0, s->fd);
	EXPECT_EQ(pread(s->local_fd, s->buf + 1, 7, 3),
		  pread(s->fd, s->buf + 1, 7, 3));
	EXPECT_EQ(pwrite(s->local_fd, s->buf + 1, 7, 3),
		  pwrite(s->fd, s->buf + 1, 7, 3));
}

TEST_F(stack, o_direct_io_submit_reads_and_writes_what_is_below)
{
	struct stack *s = &self->s;

	if (reopen_direct(s))
		SKIP(return, NO_DIRECT);
	ASSERT_LE(0, s->fd);
	ASSERT_EQ(2 * PAGE, do_write(AIO, s->fd, s->new, 2 * PAGE,
				     SIZE - PAGE));
	EXPECT_EQ(SIZE + PAGE, lseek(s->fd, 0, SEEK_END));
	EXPECT_TRUE(test_has(s->bottom_fd, SIZE - PAGE, s->new, 2 * PAGE));
	ASSERT_EQ(SIZE, do_read(AIO, s->fd, s->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(s->buf, s->data, SIZE - PAGE));
	EXPECT_EQ(0, memcmp(s->buf + SIZE - PAGE, s->new, PAGE));
}

/* Mapping */

static bool map_stack(struct stack *s)
{
	s->map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (s->map == MAP_FAILED)
		s->map = NULL;
	return s->map;
}

TEST_F(stack, shared_mapping_is_seen_below)
{
	struct stack *s = &self->s;

	ASSERT_TRUE(map_stack(s));
	EXPECT_EQ(0, memcmp(s->map, s->data, SIZE));
	memcpy(s->map + PAGE - 2, "mapped", 6);
	EXPECT_TRUE(test_has(s->fd, PAGE - 2, "mapped", 6));
	if (variant->cached)
		EXPECT_EQ(0, msync(s->map, SIZE, MS_SYNC));
	EXPECT_TRUE(test_has(s->bottom_fd, PAGE - 2, "mapped", 6));
}

TEST_F(stack, shared_mapping_sees_what_is_written)
{
	struct stack *s = &self->s;

	ASSERT_TRUE(map_stack(s));
	ASSERT_EQ(3, pwrite(s->fd, "top", 3, PAGE));
	EXPECT_EQ(0, memcmp(s->map + PAGE, "top", 3));
	if (variant->cached)
		SKIP(return, "a page cache in the stack knows nothing of more");
	ASSERT_EQ(6, pwrite(s->bottom_fd, "bottom", 6, 2 * PAGE));
	EXPECT_EQ(0, memcmp(s->map + 2 * PAGE, "bottom", 6));
}

TEST_F(stack, private_mapping_keeps_its_stores_to_itself)
{
	struct stack *s = &self->s;
	char *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, s->fd,
			 0);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, s->data, SIZE));
	memcpy(map, "private", 7);
	EXPECT_TRUE(test_has(s->bottom_fd, 0, s->data, SIZE));
	ASSERT_EQ(6, pwrite(s->fd, "shared", 6, PAGE));
	EXPECT_EQ(0, memcmp(map + PAGE, "shared", 6));
	EXPECT_EQ(0, munmap(map, SIZE));
}

/* Every FUSE file of the stack is open until the last mapping is gone */

struct releases {
	int env;
	int inner;
	int mirror;
};

/* False if the mirror server does not say */
static bool count_releases(struct stack *s, struct releases *r)
{
	*r = (struct releases) { 0, 0, 0 };

	if (s->file)
		r->env = test_releases(s->file);
	if (s->inner_file)
		r->inner = test_releases(s->inner_file);
	if (s->mirror.pid)
		r->mirror = mirror_count(&s->mirror, "RELEASE");
	return r->mirror >= 0;
}

/* Files are closed late by other threads. */
static bool released_in_time(struct stack *s, struct releases before)
{
	struct releases r;
	int i;

	for (i = 0; i < 200; i++) {
		if (count_releases(s, &r) &&
		    (!s->file || r.env > before.env) &&
		    (!s->inner_file || r.inner > before.inner) &&
		    (!s->mirror.pid || r.mirror > before.mirror))
			return true;
		usleep(10000);
	}
	return false;
}

TEST_F(stack, mapping_keeps_every_file_open)
{
	struct stack *s = &self->s;
	struct releases before, after;

	ASSERT_TRUE(map_stack(s));
	/* What was open besides that is closed by now */
	test_close(&s->read_fd);
	usleep(100000);
	ASSERT_TRUE(count_releases(s, &before));
	test_close(&s->fd);
	usleep(100000);
	ASSERT_TRUE(count_releases(s, &after));
	ASSERT_OR_XFAIL(return, &s->env,
			after.env == before.env &&
			after.inner == before.inner &&
			after.mirror == before.mirror,
			"sends RELEASE while the file is mapped: %d at the top, %d below, %d to the mirror",
			after.env - before.env, after.inner - before.inner,
			after.mirror - before.mirror);
	memcpy(s->map, "still", 5);
	ASSERT_EQ(0, msync(s->map, SIZE, MS_SYNC));
	ASSERT_EQ(0, munmap(s->map, SIZE));
	s->map = NULL;
	EXPECT_TRUE(released_in_time(s, before));
	EXPECT_TRUE(test_has(s->bottom_fd, 0, "still", 5));
}

TEST_F(stack, mapping_shows_the_path_that_was_opened)
{
	struct stack *s = &self->s;
	struct test_mapping mapping;

	ASSERT_TRUE(map_stack(s));
	ASSERT_TRUE(test_find_mapping("/proc/self/maps", s->map, &mapping));
	ASSERT_OR_XFAIL(return, &s->env, !strcmp(mapping.path, s->top),
			"shows %s", mapping.path);
}

TEST_F(stack, mapping_shows_the_inode_that_was_opened)
{
	struct stack *s = &self->s;
	struct test_mapping mapping;
	struct stat st;

	if (!s->file)
		SKIP(return, "overlayfs shows the inode of its upper layer");
	ASSERT_TRUE(map_stack(s));
	ASSERT_EQ(0, fstat(s->fd, &st));
	ASSERT_TRUE(test_find_mapping("/proc/self/maps", s->map, &mapping));
	ASSERT_OR_XFAIL(return, &s->env,
			mapping.dev == st.st_dev && mapping.ino == st.st_ino,
			"shows the inode number of a file below");
}

/* Attributes */

/* What stat() says of the top is what it says of the bottom. */
static bool same_attr(struct stack *s)
{
	struct stat top, bottom;

	return !stat(s->top, &top) && !fstat(s->bottom_fd, &bottom) &&
	       top.st_size == bottom.st_size &&
	       top.st_blocks == bottom.st_blocks &&
	       test_same_time(top.st_mtim, bottom.st_mtim) &&
	       test_same_time(top.st_ctim, bottom.st_ctim);
}

static bool make_times_old(struct stack *s)
{
	struct stat st;

	return !futimens(s->fd, old_times) && !fstat(s->fd, &st) &&
	       st.st_mtim.tv_sec == OLD && same_attr(s);
}

TEST_F(stack, attributes_are_right_after_a_write)
{
	struct stack *s = &self->s;
	struct stat st;

	ASSERT_TRUE(make_times_old(s));
	ASSERT_EQ(100, pwrite(s->fd, s->new, 100, SIZE));
	EXPECT_TRUE(same_attr(s));
	ASSERT_EQ(0, fstat(s->fd, &st));
	EXPECT_LT(OLD, st.st_mtim.tv_sec);
	EXPECT_EQ(SIZE + 100, st.st_size);
}

TEST_F(stack, attributes_are_right_after_a_store_to_a_mapping)
{
	struct stack *s = &self->s;

	ASSERT_TRUE(map_stack(s));
	ASSERT_TRUE(make_times_old(s));
	memcpy(s->map, "new", 3);
	ASSERT_EQ(0, msync(s->map, SIZE, MS_SYNC));
	ASSERT_OR_XFAIL(return, &s->env, same_attr(s),
			"shows old times after a store to a mapping");
	/* Again, now that they have been asked for */
	ASSERT_TRUE(make_times_old(s));
	memcpy(s->map, "newer", 5);
	ASSERT_EQ(0, msync(s->map, SIZE, MS_SYNC));
	EXPECT_TRUE(same_attr(s));
}

TEST_F(stack, attributes_are_right_after_the_mapping_is_gone)
{
	struct stack *s = &self->s;

	ASSERT_TRUE(map_stack(s));
	ASSERT_TRUE(make_times_old(s));
	memcpy(s->map, "new", 3);
	ASSERT_EQ(0, msync(s->map, SIZE, MS_SYNC));
	ASSERT_EQ(0, munmap(s->map, SIZE));
	s->map = NULL;
	test_close(&s->fd);
	test_close(&s->read_fd);
	test_sync(&s->env);
	ASSERT_OR_XFAIL(return, &s->env, same_attr(s),
			"shows old times after the last munmap");
}

TEST_F(stack, attributes_are_right_after_truncation)
{
	struct stack *s = &self->s;

	/* Of a file that the server may not write to it can change no size */
	if (variant->build == fuse_over_lower ||
	    variant->build == fuse_over_copied_up)
		SKIP(return, "the server has the file open for reading only");
	ASSERT_EQ(0, ftruncate(s->fd, 100));
	EXPECT_TRUE(same_attr(s));
	EXPECT_EQ(100, pread(s->read_fd, s->buf, SIZE, 0));
	ASSERT_EQ(0, ftruncate(s->fd, 2 * SIZE));
	/* It is no data operation: it may ask for security.capability */
	s->asked = asked_for_data(s);
	EXPECT_TRUE(same_attr(s));
	EXPECT_EQ(SIZE, pread(s->read_fd, s->buf, SIZE, SIZE));
}

/* To fetch attributes is not to change them. */
TEST_F(stack, attributes_are_not_asked_for_again_if_they_were_fetched_below)
{
	struct stack *s = &self->s;
	char path[PATH_MAX];
	struct statx stx;
	struct stat st;
	int asked, i;

	if (!s->inner_file)
		SKIP(return, "no FUSE mount below that fetches any");
	test_path(s->inner_file, path);
	ASSERT_TRUE(same_attr(s));
	ASSERT_EQ(0, fstat(s->fd, &st));
	asked = test_count(&s->env, FUSE_GETATTR);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC,
				   STATX_BASIC_STATS, &stx));
		ASSERT_EQ(0, fstat(s->fd, &st));
	}
	EXPECT_EQ(asked, test_count(&s->env, FUSE_GETATTR));
}

/* Privileges */

static int user_writes(void *arg)
{
	struct stack *s = arg;
	int fd = open(s->top, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	return write(fd, s->new, 100) == 100 ? 0 : errno;
}

TEST_F(stack, a_users_write_strips_setuid_below)
{
	struct stack *s = &self->s;
	struct stat st;

	ASSERT_EQ(0, fchmod(s->fd, 06777));
	ASSERT_EQ(0, fstat(s->bottom_fd, &st));
	ASSERT_EQ(06777u, st.st_mode & 07777);
	EXPECT_EQ(0, test_as_user(user_writes, s));
	EXPECT_TRUE(test_has(s->bottom_fd, 0, s->new, 100));
	ASSERT_EQ(0, fstat(s->bottom_fd, &st));
	ASSERT_OR_XFAIL(return, &s->env, (st.st_mode & 07777) == 0777,
			"leaves mode %#o", st.st_mode & 07777);
	ASSERT_EQ(0, fstat(s->fd, &st));
	EXPECT_EQ(0777u, st.st_mode & 07777);
}

/* Once a sign of mandatory locks, for which nobody looks any more */
TEST_F(stack, a_users_write_strips_setgid_without_group_execution_below)
{
	struct stack *s = &self->s;
	struct stat st;

	ASSERT_EQ(0, fchmod(s->fd, 02666));
	ASSERT_EQ(0, fstat(s->bottom_fd, &st));
	ASSERT_EQ(02666u, st.st_mode & 07777);
	EXPECT_EQ(0, test_as_user(user_writes, s));
	ASSERT_EQ(0, fstat(s->bottom_fd, &st));
	ASSERT_OR_XFAIL(return, &s->env, (st.st_mode & 07777) == 0666,
			"leaves mode %#o", st.st_mode & 07777);
	ASSERT_EQ(0, fstat(s->fd, &st));
	EXPECT_EQ(0666u, st.st_mode & 07777);
}

/* Ids do not pin the file systems below for longer than they must. */

static bool umount_below(struct stack *s)
{
	s->below_is_gone = !test_umount(s->below);
	return s->below_is_gone;
}

TEST_F(stack, an_id_pins_what_is_below_until_it_is_closed)
{
	struct stack *s = &self->s;
	int dev;

	if (!s->below)
		SKIP(return, "the ids are another process's");
	close_stack(s);
	test_sync(&s->env);
	test_close_backing(&s->env);
	ASSERT_EQ(-1, umount2(s->below, 0));
	ASSERT_EQ(EBUSY, errno);
	dev = fuse_server_dev(s->env.srv);
	EXPECT_EQ(0, test_backing_close(dev, s->file->backing_id));
	EXPECT_TRUE(umount_below(s));
}

TEST_F(stack, ids_of_a_dead_server_do_not_pin_what_is_below)
{
	struct stack *s = &self->s;

	if (!s->below)
		SKIP(return, "the ids are another process's");
	close_stack(s);
	test_sync(&s->env);
	test_close_backing(&s->env);
	fuse_server_kill(s->env.srv);
	ASSERT_OR_XFAIL(return, &s->env, umount_below(s),
			"keeps the file system busy");
}

/* An overlay with a lower layer that FUSE passes through */

FIXTURE(lower)
{
	struct stack s;
};

FIXTURE_SETUP(lower)
{
	static const char * const dirs[] = { "upper", "work", NULL };
	struct stack *s = &self->s;

	ASSERT_EQ(0, begin_stack(s));
	if (s->missing)
		SKIP(_exit(255), "%s", s->missing);
	ASSERT_EQ(0, test_start(&s->env));
	TEST_NEEDS_PASSTHROUGH(&s->env);
	s->file = test_add_file(&s->env, "file", s->data, SIZE);
	ASSERT_TRUE(!!s->file);
	ASSERT_LT(0, test_back(s->file));
	ASSERT_EQ(0, make_dirs(s->env.backing, dirs));
	ASSERT_EQ(0, mount_overlay(&s->env, s->env.mnt, s->env.backing,
				   s->overlay));
	test_pathf(s->top, "%s/file", s->overlay);
	s->fd = open(s->top, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, s->fd);
	/* overlayfs asks for attributes of its own; what is read costs nothing */
	s->asked = test_count(&s->env, FUSE_GETXATTR);
}

FIXTURE_TEARDOWN(lower)
{
	EXPECT_EQ(0, test_count(&self->s.env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->s.env, FUSE_WRITE));
	EXPECT_EQ(0, end_stack(&self->s));
}

TEST_F(lower, read_asks_for_nothing)
{
	struct stack *s = &self->s;

	ASSERT_EQ(SIZE, read(s->fd, s->buf, SIZE));
	EXPECT_EQ(0, memcmp(s->buf, s->data, SIZE));
	ASSERT_EQ(5000, do_read(AIO, s->fd, s->buf, 5000, 4095));
	EXPECT_EQ(0, memcmp(s->buf, s->data + 4095, 5000));
	EXPECT_EQ(s->asked, test_data_requests(&s->env));
}

TEST_F(lower, splice_asks_for_nothing)
{
	struct stack *s = &self->s;
	off_t off = 0;

	ASSERT_EQ(5000, do_read(SPLICE, s->fd, s->buf, 5000, 4095));
	EXPECT_EQ(0, memcmp(s->buf, s->data + 4095, 5000));
	s->local_fd = memfd_create("local", MFD_CLOEXEC);
	ASSERT_LE(0, s->local_fd);
	ASSERT_EQ(SIZE, sendfile(s->local_fd, s->fd, &off, SIZE));
	EXPECT_TRUE(test_has(s->local_fd, 0, s->data, SIZE));
	EXPECT_EQ(s->asked, test_data_requests(&s->env));
}

TEST_F(lower, mapping_asks_for_nothing_and_shows_the_path_that_was_opened)
{
	struct stack *s = &self->s;
	struct test_mapping mapping;
	char *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, s->fd,
			 0);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, s->data, SIZE));
	memcpy(map, "private", 7);
	EXPECT_TRUE(test_has(s->file->fd, 0, s->data, SIZE));
	EXPECT_EQ(s->asked, test_data_requests(&s->env));
	ASSERT_TRUE(test_find_mapping("/proc/self/maps", map, &mapping));
	EXPECT_EQ(0, munmap(map, SIZE));
	ASSERT_OR_XFAIL(return, &s->env, !strcmp(mapping.path, s->top),
			"shows %s", mapping.path);
}

TEST_F(lower, mapping_keeps_the_file_open)
{
	struct stack *s = &self->s;
	struct releases before;
	int early;

	s->map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, s->fd, 0);
	ASSERT_NE(MAP_FAILED, s->map);
	ASSERT_TRUE(count_releases(s, &before));
	test_close(&s->fd);
	usleep(100000);
	early = test_releases(s->file) - before.env;
	ASSERT_OR_XFAIL(return, &s->env, !early,
			"sends RELEASE while the file is mapped");
	EXPECT_EQ(0, memcmp(s->map, s->data, SIZE));
	ASSERT_EQ(0, munmap(s->map, SIZE));
	s->map = NULL;
	EXPECT_TRUE(released_in_time(s, before));
}

TEST_F(lower, file_is_copied_up_without_asking_for_data)
{
	struct stack *s = &self->s;
	char path[PATH_MAX];
	int fd = open(s->top, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, test_count(&s->env, FUSE_READ));
	test_pathf(path, "%s/upper/file", s->env.backing);
	s->bottom_fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, s->bottom_fd);
	EXPECT_TRUE(test_has(s->bottom_fd, 0, s->data, SIZE));

	/* What FUSE has stays as it is; the file that was open follows */
	ASSERT_EQ(100, pwrite(fd, s->new, 100, 0));
	EXPECT_TRUE(test_has(s->bottom_fd, 0, s->new, 100));
	EXPECT_TRUE(test_has(s->file->fd, 0, s->data, SIZE));
	EXPECT_TRUE(test_has(s->fd, 0, s->new, 100));
	EXPECT_EQ(0, close(fd));
}

/* FUSE over a file of an overlay that has not been copied up */

FIXTURE(not_copied_up)
{
	struct stack s;
	int overlay_fd;		/* of the overlay's file itself */
};

FIXTURE_SETUP(not_copied_up)
{
	struct stack *s = &self->s;
	char path[PATH_MAX];
	int err;

	ASSERT_EQ(0, begin_stack(s));
	if (s->missing)
		SKIP(_exit(255), "%s", s->missing);
	err = fuse_over_lower(s);
	TEST_NEEDS_PASSTHROUGH(&s->env);
	ASSERT_EQ(0, err);
	test_pathf(path, "%s/file", s->overlay);
	self->overlay_fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->overlay_fd);
	s->fd = test_open(s->file, O_RDONLY);
	ASSERT_LE(0, s->fd);
}

FIXTURE_TEARDOWN(not_copied_up)
{
	close(self->overlay_fd);
	EXPECT_EQ(0, requests_for_data(&self->s.env));
	EXPECT_EQ(0, end_stack(&self->s));
}

TEST_F(not_copied_up, file_is_not_copied_up_to_be_read)
{
	struct stack *s = &self->s;
	char *map;

	ASSERT_EQ(SIZE, read(s->fd, s->buf, SIZE));
	EXPECT_EQ(0, memcmp(s->buf, s->data, SIZE));
	ASSERT_EQ(5000, do_read(AIO, s->fd, s->buf, 5000, 4095));
	EXPECT_EQ(0, memcmp(s->buf, s->data + 4095, 5000));
	ASSERT_EQ(5000, do_read(SPLICE, s->fd, s->buf, 5000, 1));
	EXPECT_EQ(0, memcmp(s->buf, s->data + 1, 5000));
	map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, s->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, s->data, SIZE));
	EXPECT_EQ(0, munmap(map, SIZE));
	EXPECT_EQ(-1, access(s->bottom, F_OK));
	EXPECT_EQ(ENOENT, errno);
}

/* overlayfs moves files that are open to the copy, but not mappings. */
TEST_F(not_copied_up, file_and_its_mapping_follow_a_copy_up_as_on_the_overlay)
{
	struct stack *s = &self->s;
	char *map, *usual;
	int fd;

	usual = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->overlay_fd, 0);
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, s->fd, 0);
	ASSERT_NE(MAP_FAILED, usual);
	ASSERT_NE(MAP_FAILED, map);
	fd = test_open(s->file, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(PAGE, pwrite(fd, s->new, PAGE, 0));
	EXPECT_TRUE(test_has(s->fd, 0, s->new, PAGE));
	EXPECT_TRUE(test_has(self->overlay_fd, 0, s->new, PAGE));
	EXPECT_EQ(0, memcmp(map, usual, PAGE));
	EXPECT_EQ(0, munmap(usual, PAGE));
	EXPECT_EQ(0, munmap(map, PAGE));
	EXPECT_EQ(0, close(fd));
}

/* How high a stack may be */

/* What runs from the upper layer, and not from the overlay */
FIXTURE(text)
{
	struct stack s;
	pid_t pid;
};

FIXTURE_SETUP(text)
{
	struct stack *s = &self->s;
	char path[PATH_MAX];

	ASSERT_EQ(0, begin_stack(s));
	if (s->missing)
		SKIP(_exit(255), "%s", s->missing);
	ASSERT_EQ(0, fuse_over_upper(s));
	TEST_NEEDS_PASSTHROUGH(&s->env);
	test_pathf(path, "%s/upper/text", s->env.backing);
	self->pid = test_run_text(path);
	ASSERT_LT(0, self->pid);
}

FIXTURE_TEARDOWN(text)
{
	if (self->pid > 0) {
		kill(self->pid, SIGKILL);
		waitpid(self->pid, NULL, 0);
	}
	EXPECT_EQ(0, end_stack(&self->s));
}

TEST_F(text, is_opened_for_reading_only)
{
	struct stack *s = &self->s;
	struct test_file *file;
	char path[PATH_MAX];
	int fd;

	file = test_add_path(&s->env, "text",
			     test_pathf(path, "%s/text", s->overlay), O_RDONLY);
	ASSERT_TRUE(!!file);
	ASSERT_LT(0, test_back(file));
	fd = test_open(file, O_WRONLY);
	ASSERT_OR_XFAIL(return, &s->env, fd == -1 && errno == EIO,
			"opens a running program for writing");
	EXPECT_EQ(1, test_releases(file));
	fd = test_open(file, O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(2, test_releases(file));
}

FIXTURE(limit)
{
	struct stack s;
	struct test_env outer;
};

FIXTURE_SETUP(limit)
{
	ASSERT_EQ(0, begin_stack(&self->s));
	if (self->s.missing)
		SKIP(_exit(255), "%s", self->s.missing);
	ASSERT_EQ(0, test_setup(&self->outer));
	self->outer.config.max_stack_depth = 2;
	ASSERT_EQ(0, test_start(&self->outer));
	TEST_NEEDS_PASSTHROUGH(&self->outer);
}

FIXTURE_TEARDOWN(limit)
{
	EXPECT_EQ(0, stop_env(&self->outer, true));
	EXPECT_EQ(0, end_stack(&self->s));
}

/* An errno, or 0 if the server gets an id for the file at @path */
static int back_with(struct test_env *env, const char *path)
{
	struct test_file *file = test_add_path(env, "outer", path, O_RDONLY);

	if (!file)
		return errno;
	return test_back(file) < 0 ? errno : 0;
}

TEST_F(limit, fuse_over_fuse_over_overlay_is_eloop)
{
	struct stack *s = &self->s;

	ASSERT_EQ(0, fuse_over_upper(s));
	EXPECT_EQ(ELOOP, back_with(&self->outer, s->top));
}

TEST_F(limit, fuse_over_fuse_over_fuse_is_eloop)
{
	struct stack *s = &self->s;

	ASSERT_EQ(0, fuse_over_fuse(s));
	EXPECT_EQ(ELOOP, back_with(&self->outer, s->top));
}

TEST_F(limit, fuse_over_fuse_of_the_same_depth_is_eloop)
{
	struct stack *s = &self->s;
	char path[PATH_MAX];

	ASSERT_EQ(0, start_inner(s, true));
	s->env.config.max_stack_depth = 1;
	ASSERT_EQ(0, test_start(&s->env));
	test_path(s->inner_file, path);
	EXPECT_EQ(ELOOP, back_with(&s->env, path));
	EXPECT_EQ(0, back_with(&self->outer, path));
	test_close_backing(&self->outer);
}

TEST_F(limit, fuse_over_overlay_over_fuse_is_eloop)
{
	static const char * const dirs[] = { "upper", "work", NULL };
	struct stack *s = &self->s;
	char path[PATH_MAX];

	ASSERT_EQ(0, test_start(&s->env));
	ASSERT_TRUE(!!test_add_file(&s->env, "file", s->data, SIZE));
	ASSERT_EQ(0, make_dirs(s->env.backing, dirs));
	ASSERT_EQ(0, mount_overlay(&s->env, s->env.mnt, s->env.backing,
				   s->overlay));
	test_pathf(path, "%s/file", s->overlay);
	EXPECT_EQ(ELOOP, back_with(&self->outer, path));
	test_close_backing(&self->outer);
}

TEST_F(limit, overlay_over_fuse_of_depth_2_cannot_be_mounted)
{
	static const char * const dirs[] = { "upper", "work", NULL };
	struct stack *s = &self->s;
	char path[PATH_MAX];

	ASSERT_EQ(0, make_dirs(s->env.backing, dirs));
	EXPECT_EQ(-1, mount_overlay(&self->outer, self->outer.mnt,
				    s->env.backing, path));
	EXPECT_EQ(EINVAL, errno);
	/* It is for no other reason */
	ASSERT_EQ(0, test_start(&s->env));
	EXPECT_EQ(0, mount_overlay(&s->env, s->env.mnt, s->env.backing,
				   s->overlay));
}

TEST_HARNESS_MAIN
