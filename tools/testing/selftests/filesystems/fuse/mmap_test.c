// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: mappings are those of the backing file, keep the FUSE file
 * open, and show its path. The FUSE page cache stays empty.
 */
#include "test_common.h"

#include <linux/fs.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE	4096
#define SIZE	(8 * PAGE)

FIXTURE(map)
{
	struct test_env env;
	struct test_file *file;
	int fd;
	char path[PATH_MAX];	/* of the file, through the mount */
	char data[SIZE];
	char buf[SIZE];
	char *map;
	bool may_read;		/* READs are accounted for */
};

FIXTURE_SETUP(map)
{
	struct test_env *env = &self->env;

	test_pattern(self->data, SIZE, 5);
	ASSERT_EQ(0, test_setup(env));
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
	self->fd = test_open_new(env, "file", self->data, SIZE, O_RDWR,
				 &self->file);
	ASSERT_LE(0, self->fd);
	test_path(self->file, self->path);
	self->map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(map)
{
	if (!self->may_read)
		EXPECT_EQ(0, test_count(&self->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->env, FUSE_WRITE));
	munmap(self->map, SIZE);
	close(self->fd);
	test_teardown(&self->env);
}

TEST_F(map, shared_has_what_is_read_and_written)
{
	EXPECT_EQ(0, memcmp(self->map, self->data, SIZE));
	memcpy(self->map + PAGE - 2, "mapped", 6);
	ASSERT_EQ(6, pread(self->fd, self->buf, 6, PAGE - 2));
	EXPECT_EQ(0, memcmp(self->buf, "mapped", 6));
	ASSERT_EQ(7, pwrite(self->fd, "written", 7, 3 * PAGE - 3));
	EXPECT_EQ(0, memcmp(self->map + 3 * PAGE - 3, "written", 7));
}

TEST_F(map, shared_has_what_the_backing_file_has)
{
	memcpy(self->map, "mapped", 6);
	ASSERT_EQ(6, pread(self->file->fd, self->buf, 6, 0));
	EXPECT_EQ(0, memcmp(self->buf, "mapped", 6));
	ASSERT_EQ(7, pwrite(self->file->fd, "written", 7, PAGE));
	EXPECT_EQ(0, memcmp(self->map + PAGE, "written", 7));
}

TEST_F(map, private_keeps_its_stores_to_itself)
{
	char *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			 self->fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, memcmp(map, self->data, SIZE));
	memcpy(map, "private", 7);
	ASSERT_EQ(7, pread(self->fd, self->buf, 7, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, 7));
	/* What it has not stored to it still shares */
	memcpy(self->map + PAGE, "shared", 6);
	EXPECT_EQ(0, memcmp(map + PAGE, "shared", 6));
	EXPECT_EQ(0, munmap(map, SIZE));
}

static int store_beyond_the_end(void *arg)
{
	char *map = arg;

	signal(SIGBUS, SIG_DFL);
	map[5 * PAGE] = 1;
	return 0;
}

TEST_F(map, beyond_the_end_is_sigbus)
{
	ASSERT_EQ(0, ftruncate(self->fd, 2 * PAGE + 100));
	/* 255: it died */
	EXPECT_EQ(255, test_in_child(store_beyond_the_end, self->map));
	EXPECT_EQ(0, self->map[2 * PAGE + 200]);
}

TEST_F(map, follows_truncation)
{
	ASSERT_EQ(0, ftruncate(self->fd, PAGE));
	ASSERT_EQ(0, ftruncate(self->fd, SIZE));
	EXPECT_EQ(0, memcmp(self->map, self->data, PAGE));
	EXPECT_EQ(0, self->map[PAGE]);
	EXPECT_EQ(0, self->map[SIZE - 1]);
}

/* Access modes are those of the user's file, not of the server's */
TEST_F(map, writable_takes_a_writable_file)
{
	int fd = test_open(self->file, O_RDONLY);
	void *map;

	ASSERT_LE(0, fd);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(EACCES, errno);
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(-1, mprotect(map, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, munmap(map, PAGE));
	EXPECT_EQ(0, close(fd));
}

/* The file is open until the last mapping is gone */

/* Files are closed late by other threads */
static int releases_in_time(struct test_file *file, int n)
{
	int i, releases = 0;

	for (i = 0; i < 200 && releases < n; i++) {
		usleep(10000);
		releases = test_releases(file);
	}
	return releases;
}

TEST_F(map, keeps_the_file_open)
{
	ASSERT_EQ(0, close(self->fd));
	usleep(100000);
	ASSERT_OR_XFAIL(return, &self->env, !test_releases(self->file),
			"sends RELEASE while the file is mapped");
	memcpy(self->map, "still", 5);
	ASSERT_EQ(0, munmap(self->map, SIZE));
	EXPECT_EQ(1, releases_in_time(self->file, 1));
	ASSERT_EQ(5, pread(self->file->fd, self->buf, 5, 0));
	EXPECT_EQ(0, memcmp(self->buf, "still", 5));
}

TEST_F(map, in_parts_keeps_the_file_open)
{
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, munmap(self->map + 2 * PAGE, PAGE));
	ASSERT_EQ(0, munmap(self->map, 2 * PAGE));
	usleep(100000);
	ASSERT_OR_XFAIL(return, &self->env, !test_releases(self->file),
			"sends RELEASE while the file is mapped");
	self->map[SIZE - 1] = 1;
	ASSERT_EQ(0, munmap(self->map + 3 * PAGE, SIZE - 3 * PAGE));
	EXPECT_EQ(1, releases_in_time(self->file, 1));
}

TEST_F(map, of_a_child_keeps_the_file_open)
{
	int fds[2], early;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	pid = fork();
	if (!pid) {
		close(fds[1]);
		close(self->fd);
		_exit(read(fds[0], &c, 1) == 1 && self->map[1] == 'x' ? 0 : 1);
	}
	ASSERT_LT(0, pid);
	self->map[1] = 'x';
	ASSERT_EQ(0, munmap(self->map, SIZE));
	ASSERT_EQ(0, close(self->fd));
	usleep(100000);
	early = test_releases(self->file);
	EXPECT_EQ(1, write(fds[1], "x", 1));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(1, releases_in_time(self->file, 1));
	ASSERT_OR_XFAIL(return, &self->env, !early,
			"sends RELEASE while the file is mapped");
}

TEST_F(map, keeps_the_file_in_passthrough_mode)
{
	int fd;

	ASSERT_EQ(0, close(self->fd));
	self->file->open_flags = 0;
	fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, fd);
	memcpy(self->map, "mapped", 6);
	ASSERT_EQ(6, read(fd, self->buf, 6));
	self->may_read = true;
	ASSERT_OR_XFAIL(return, &self->env,
			!test_count(&self->env, FUSE_READ) &&
			!memcmp(self->buf, "mapped", 6),
			"does not join the mapping, but asks the server");
	EXPECT_EQ(0, close(fd));
}

/* What users see of it */

TEST_F(map, shows_the_path_that_was_opened)
{
	static const char * const maps[] = {
		"/proc/self/maps", "/proc/self/smaps",
	};
	struct test_mapping mapping;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(maps); i++) {
		if (access(maps[i], R_OK))
			continue;
		ASSERT_TRUE(test_find_mapping(maps[i], self->map, &mapping));
		EXPECT_STREQ(self->path, mapping.path);
	}
}

TEST_F(map, shows_the_inode_that_was_opened)
{
	struct test_mapping mapping;
	struct stat st;

	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_TRUE(test_find_mapping("/proc/self/maps", self->map, &mapping));
	ASSERT_OR_XFAIL(return, &self->env,
			mapping.dev == st.st_dev && mapping.ino == st.st_ino,
			"shows the backing file's inode number");
}

/* perf's record of a mapping, and the buffer that it is in */

#define PERF_PAGES	8

struct perf_mmap2 {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t addr, len, pgoff;
	uint32_t major, minor;
	uint64_t ino, ino_generation;
	uint32_t prot, flags;
	char filename[];
};

/* An fd, or -1 with errno set. The buffer goes to @meta. */
static int perf_start(struct perf_event_mmap_page **meta)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
		.mmap = 1,
		.mmap_data = 1,
		.mmap2 = 1,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1,
			 PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return -1;
	*meta = mmap(NULL, (1 + PERF_PAGES) * PAGE, PROT_READ | PROT_WRITE,
		     MAP_SHARED, fd, 0);
	if (*meta != MAP_FAILED)
		return fd;
	close(fd);
	return -1;
}

/* The record of the mapping at @addr, or NULL. Records did not wrap around. */
static struct perf_mmap2 *perf_find(struct perf_event_mmap_page *meta,
				    const void *addr)
{
	uint64_t head = __atomic_load_n(&meta->data_head, __ATOMIC_ACQUIRE);
	struct perf_mmap2 *record;
	uint64_t at;

	for (at = 0; at < head; at += record->header.size) {
		record = (void *)((char *)meta + PAGE + at);
		if (record->header.type == PERF_RECORD_MMAP2 &&
		    record->addr == (uintptr_t)addr)
			return record;
	}
	return NULL;
}

TEST_F(map, is_recorded_by_perf_as_what_was_opened)
{
	struct perf_event_mmap_page *meta;
	struct perf_mmap2 *record;
	struct stat st;
	int perf;
	void *map;

	perf = perf_start(&meta);
	if (perf < 0)
		SKIP(return, "no perf events: %s", strerror(errno));
	map = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	record = perf_find(meta, map);
	ASSERT_TRUE(!!record);
	EXPECT_STREQ(self->path, record->filename);
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_OR_XFAIL(return, &self->env,
			record->ino == st.st_ino &&
			record->major == major(st.st_dev) &&
			record->minor == minor(st.st_dev),
			"records the backing file's inode number");
	EXPECT_EQ(0, munmap(map, SIZE));
	EXPECT_EQ(0, munmap(meta, (1 + PERF_PAGES) * PAGE));
	EXPECT_EQ(0, close(perf));
}

TEST_F(map, files_has_the_path_that_was_opened)
{
	char link[PATH_MAX], target[PATH_MAX];
	struct stat st, linked;
	ssize_t len;

	test_pathf(link, "/proc/self/map_files/%lx-%lx",
		   (unsigned long)self->map, (unsigned long)self->map + SIZE);
	len = readlink(link, target, sizeof(target) - 1);
	ASSERT_LT(0, len);
	target[len] = 0;
	EXPECT_STREQ(self->path, target);
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, stat(link, &linked));
	EXPECT_EQ(st.st_dev, linked.st_dev);
	EXPECT_EQ(st.st_ino, linked.st_ino);
}

TEST_F(map, merges_with_its_neighbour)
{
	struct test_mapping mapping;
	char *half = self->map + SIZE / 2;

	ASSERT_EQ(half, mmap(half, SIZE / 2, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, self->fd, SIZE / 2));
	ASSERT_TRUE(test_find_mapping("/proc/self/maps", self->map, &mapping));
	ASSERT_OR_XFAIL(return, &self->env,
			mapping.start == (uintptr_t)self->map &&
			mapping.end == (uintptr_t)self->map + SIZE,
			"keeps two mappings where a local file has one");
}

TEST_F(map, is_refused_if_the_backing_file_cannot_be_mapped)
{
	/* A file of sysfs can be read and written by iterators */
	struct test_file *file = test_add_path(&self->env, "sysfs",
				"/sys/kernel/rcu_expedited", O_RDWR);
	void *map;
	int fd;

	if (!file)
		SKIP(return, "no /sys/kernel/rcu_expedited: %s",
		     strerror(errno));
	ASSERT_LT(0, test_back(file));
	fd = test_open(file, O_RDONLY);
	ASSERT_LE(0, fd);
	map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(0, close(fd));
}

/* Returns when the program has closed the pipe by running, or has failed to */
static pid_t run_program(const char *path)
{
	int fds[2];
	pid_t pid;
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		setenv("FUSE_TEST_PAUSE", "1", 1);
		execl(path, path, NULL);
		_exit(127);
	}
	close(fds[1]);
	if (read(fds[0], &c, 1) < 0)
		perror("pipe");
	close(fds[0]);
	return pid;
}

TEST_F(map, of_a_program_runs_it)
{
	char copy[PATH_MAX], path[PATH_MAX], exe[PATH_MAX] = "", proc[64];
	struct test_file *file;
	pid_t pid;

	/* Makes the copy, and runs that */
	test_pathf(copy, "%s/copy", self->env.backing);
	pid = test_run_text(copy);
	ASSERT_LT(0, pid);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));

	file = test_add_path(&self->env, "program", copy, O_RDONLY);
	ASSERT_TRUE(!!file);
	ASSERT_LT(0, test_back(file));
	test_path(file, path);
	pid = run_program(path);
	ASSERT_LT(0, pid);
	snprintf(proc, sizeof(proc), "/proc/%d/exe", pid);
	EXPECT_LT(0, readlink(proc, exe, sizeof(exe) - 1));
	EXPECT_STREQ(path, exe);
	EXPECT_EQ(-1, open(path, O_WRONLY | O_CLOEXEC));
	EXPECT_EQ(ETXTBSY, errno);
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
}

/* The FUSE page cache stays empty, whatever is tried */

#define CACHED() test_cached_bytes(self->file, 0, SIZE)

TEST_F(map, leaves_the_page_cache_empty)
{
	char *private = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			     self->fd, 0);

	ASSERT_NE(MAP_FAILED, private);
	private[0] = self->map[1];
	self->map[2] = private[3];
	EXPECT_EQ(0, madvise(self->map, SIZE, MADV_WILLNEED));
	EXPECT_EQ(0, madvise(private, SIZE, MADV_WILLNEED));
	EXPECT_EQ(0, munmap(private, SIZE));
	EXPECT_EQ(0, CACHED());
}

TEST_F(map, and_readahead_leave_the_page_cache_empty)
{
	int reads;

	ASSERT_EQ(0, readahead(self->fd, 0, SIZE));
	ASSERT_EQ(0, posix_fadvise(self->fd, 0, SIZE, POSIX_FADV_WILLNEED));
	ASSERT_EQ(0, posix_fadvise(self->fd, 0, SIZE, POSIX_FADV_SEQUENTIAL));
	EXPECT_EQ(EINVAL, posix_fadvise(self->fd, 0, SIZE, 4711));
	self->may_read = true;
	reads = test_count(&self->env, FUSE_READ);
	ASSERT_OR_XFAIL(return, &self->env, !reads,
			"reads %d times for readahead", reads);
	EXPECT_EQ(0, CACHED());
}

TEST_F(map, and_notify_store_leave_the_page_cache_empty)
{
	struct fuse_notify_store_out arg = {
		.nodeid = TEST_FILE_ID(self->file - self->env.file),
		.size = SIZE,
	};
	int n;

	memset(self->buf, 'X', SIZE);
	ASSERT_EQ(0, test_notify(&self->env, FUSE_NOTIFY_STORE, &arg,
				 sizeof(arg), self->buf, SIZE));
	n = CACHED();
	ASSERT_OR_XFAIL(return, &self->env, !n,
			"keeps %d bytes of a NOTIFY_STORE", n);
	ASSERT_EQ(SIZE, pread(self->fd, self->buf, SIZE, 0));
	EXPECT_EQ(0, memcmp(self->buf, self->data, SIZE));
}

/*
 * What mmap() checks of the file that it is given holds for the backing file as
 * well: each of these is refused for it, too.
 */

FIXTURE(guarded)
{
	struct test_env env;
	struct test_file *file;
	int fd;
};

FIXTURE_SETUP(guarded)
{
	self->fd = -1;
	ASSERT_EQ(0, test_setup(&self->env));
	self->env.config.mount_flags |= MS_NOEXEC;
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
}

FIXTURE_TEARDOWN(guarded)
{
	int none = 0;

	if (self->file)
		ioctl(self->file->fd, FS_IOC_SETFLAGS, &none);
	close(self->fd);
	test_teardown(&self->env);
}

/* 0 or the errno */
static int map_err(int fd, int prot, int flags)
{
	void *map = mmap(NULL, PAGE, prot, flags, fd, 0);

	if (map == MAP_FAILED)
		return errno;
	munmap(map, PAGE);
	return 0;
}

TEST_F(guarded, append_only_is_not_mapped_writable)
{
	int append = FS_APPEND_FL;
	int reader;

	self->file = test_add_file(&self->env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	if (ioctl(self->file->fd, FS_IOC_SETFLAGS, &append))
		SKIP(return, "no append-only files where the backing files are");
	self->fd = test_open(self->file, O_RDWR | O_APPEND);
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(0, map_err(self->fd, PROT_READ, MAP_PRIVATE));
	reader = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, reader);
	EXPECT_EQ(0, map_err(reader, PROT_READ, MAP_SHARED));
	EXPECT_EQ(0, close(reader));
	ASSERT_OR_XFAIL(return, &self->env,
			map_err(self->fd, PROT_READ | PROT_WRITE,
				MAP_SHARED) == EACCES,
			"maps an append-only file to be written anywhere");
}

/*
 * Opens a memfd that is sealed then through the mount. An fd, -1 with errno set,
 * or TEST_SKIPPED - 1 if there is no memfd
 */
static int open_sealed(struct test_env *env, int seals, struct test_file **file)
{
	char path[PATH_MAX];
	int memfd, fd = -1;

	memfd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0)
		return TEST_SKIPPED - 1;
	test_pathf(path, "/proc/self/fd/%d", memfd);
	if (ftruncate(memfd, PAGE))
		goto out_close;
	*file = test_add_path(env, "file", path, O_RDWR);
	if (!*file || test_back(*file) < 0)
		goto out_close;
	fd = test_open(*file, O_RDWR);
	if (fd >= 0 && fcntl(memfd, F_ADD_SEALS, seals)) {
		close(fd);
		fd = -1;
	}
out_close:
	close(memfd);
	return fd;
}

TEST_F(guarded, sealed_does_not_become_writable)
{
	void *map;

	self->fd = open_sealed(&self->env, F_SEAL_WRITE, &self->file);
	if (self->fd == TEST_SKIPPED - 1)
		SKIP(return, "no memfd: enable CONFIG_MEMFD_CREATE");
	ASSERT_LE(0, self->fd);
	if (map_err(self->file->fd, PROT_READ, MAP_SHARED))
		SKIP(return, "a memfd that is sealed cannot be mapped at all");
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_OR_XFAIL(return, &self->env,
			mprotect(map, PAGE, PROT_READ | PROT_WRITE) == -1,
			"lets a mapping of a sealed file become writable");
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(EPERM, map_err(self->fd, PROT_READ | PROT_WRITE, MAP_SHARED));
	EXPECT_EQ(0, munmap(map, PAGE));
}

TEST_F(guarded, sealed_for_the_future_does_not_become_writable)
{
	void *map;

	self->fd = open_sealed(&self->env, F_SEAL_FUTURE_WRITE, &self->file);
	if (self->fd == TEST_SKIPPED - 1)
		SKIP(return, "no memfd: enable CONFIG_MEMFD_CREATE");
	ASSERT_LE(0, self->fd);
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_OR_XFAIL(return, &self->env,
			mprotect(map, PAGE, PROT_READ | PROT_WRITE) == -1,
			"lets a mapping of a sealed file become writable");
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(EPERM, map_err(self->fd, PROT_READ | PROT_WRITE, MAP_SHARED));
	EXPECT_EQ(0, munmap(map, PAGE));
}

/* remap_file_pages() maps it again, and has only the mapping to tell from what */
TEST_F(guarded, noexec_stays_when_it_is_mapped_again)
{
	static char data[2 * PAGE];
	char *map;

	self->file = test_add_file(&self->env, "file", data, sizeof(data));
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	self->fd = test_open(self->file, O_RDWR);
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(EPERM, map_err(self->fd, PROT_EXEC, MAP_SHARED));
	map = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, syscall(SYS_remap_file_pages, map, PAGE, 0, 1, 0));
	ASSERT_OR_XFAIL(return, &self->env,
			mprotect(map, PAGE, PROT_READ | PROT_EXEC) == -1,
			"lets a mapping on a noexec mount be executed");
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, munmap(map, 2 * PAGE));
}

/* As /proc/self/maps has it */
static bool is_executable(const void *map)
{
	FILE *f = fopen("/proc/self/maps", "r");
	bool executable = false;
	unsigned long start;
	char line[PATH_MAX], perms[5];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%*x %4s", &start, perms) == 2 &&
		    start == (unsigned long)map)
			executable = perms[2] == 'x';
	if (f)
		fclose(f);
	return executable;
}

static int map_again_as_if_readable_were_executable(void *arg)
{
	struct test_file *file = arg;
	char *map, *none, *local;
	int fd = test_open(file, O_RDWR);

	if (fd < 0 || personality(READ_IMPLIES_EXEC) < 0)
		return 1;
	map = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	none = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	local = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file->fd, 0);
	if (map == MAP_FAILED || none == MAP_FAILED || local == MAP_FAILED)
		return 2;
	if (is_executable(map) || !is_executable(none) || !is_executable(local))
		return 3;
	if (syscall(SYS_remap_file_pages, map, PAGE, 0, 1, 0))
		return 4;
	return is_executable(map) ? 5 : 0;
}

TEST_F(guarded, noexec_stays_with_read_implies_exec)
{
	static char data[2 * PAGE];
	int ret;

	self->file = test_add_file(&self->env, "file", data, sizeof(data));
	ASSERT_TRUE(!!self->file);
	ASSERT_LT(0, test_back(self->file));
	ret = test_in_child(map_again_as_if_readable_were_executable,
			    self->file);
	ASSERT_OR_XFAIL(return, &self->env, ret == 0,
			"maps what is on a noexec mount again, with result %d",
			ret);
}

TEST_HARNESS_MAIN
