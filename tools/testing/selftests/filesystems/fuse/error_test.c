// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: errors of the backing file system reach the caller, by
 * whichever road, as they would on a local file; short writes are short; and when
 * there is no more error, everything works.
 *
 * Each test makes an ext4 of its own, on a loop device whose image lies on a
 * tmpfs, so that both can be made to fail. A second file there, of which FUSE
 * knows nothing, shows what is usual.
 */
#include "test_common.h"

#include <linux/capability.h>
#include <linux/fs.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/quota.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE		4096
#define SIZE		(4 * PAGE)	/* of a file */
#define LEN		(2 * PAGE)	/* what is read and written at once */
#define IMAGE_SIZE	(16 << 20)
#define ROOMY		"size=32m"	/* the tmpfs has space for the image */

/* An ext4 that can be made to fail, and two files on it */
struct disk {
	struct test_env env;
	char below[PATH_MAX];	/* the tmpfs that has the image */
	char dir[PATH_MAX];	/* the ext4 */
	char dev[PATH_MAX];	/* the loop device */
	bool quota;		/* the ext4 has some */
	struct test_file *file;
	int fd;			/* through the mount */
	int backing_fd;		/* the server's */
	int local_fd;		/* of the other file */
	int frozen_fd;		/* of the ext4 that is frozen, or -1 */

	/* Of SIZE, page-aligned */
	char *old;		/* what both files have */
	char *new;
	char *buf;
};

static bool complain(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	return false;
}

/*
 * Without a journal, as a rule: there it is for the data only that something goes
 * wrong. The journal would be aborted, and the file system of no more use.
 */
#define NO_JOURNAL	"^has_journal"
#define WITH_JOURNAL	"has_journal"
#define WITH_QUOTA	"^has_journal,quota"

struct mkfs {
	const char *image;
	const char *features;
};

static int run_mkfs(void *arg)
{
	struct mkfs *mkfs = arg;
	int null = open("/dev/null", O_WRONLY);

	dup2(null, STDOUT_FILENO);
	execlp("mkfs.ext4", "mkfs.ext4", "-q", "-F", "-m", "0", "-N", "64",
	       "-b", "4096", "-O", mkfs->features, mkfs->image, NULL);
	return 127;
}

static bool disk_mkfs(const char *image, const char *features)
{
	struct mkfs mkfs = { image, features };

	return (!test_write_file(image, "", 0) && !truncate(image, IMAGE_SIZE) &&
		!test_in_child(run_mkfs, &mkfs)) || complain("mkfs.ext4");
}

/* Leaves holes where they are. */
static bool copy_image(int in, int out)
{
	off_t end, off = 0;

	if (in < 0 || out < 0 || ftruncate(out, IMAGE_SIZE))
		return false;
	while ((off = lseek(in, off, SEEK_DATA)) >= 0) {
		end = lseek(in, off, SEEK_HOLE);
		if (lseek(out, off, SEEK_SET) != off ||
		    sendfile(out, in, &off, end - off) < 1)
			return false;
	}
	return errno == ENXIO;
}

/* mkfs takes long, and is run once for all tests of the program. */
static bool disk_image(struct disk *d, const char *image, const char *features)
{
	char made[PATH_MAX];
	int in, out;
	bool done;

	test_pathf(made, "%s/../image.%s", d->env.dir, features);
	if (access(made, F_OK) && !disk_mkfs(made, features))
		return false;
	in = open(made, O_RDONLY | O_CLOEXEC);
	out = open(image, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	done = copy_image(in, out);
	test_close(&in);
	test_close(&out);
	return done || complain(image);
}

static bool disk_mount(struct disk *d, const char *image, const char *options)
{
	int fd = test_attach_loop(image, d->dev);
	int ret;

	if (fd < 0)
		return false;
	ret = mount(d->dev, d->dir, "ext4", 0, options);
	close(fd);
	return !ret;
}

/* The two files, opened with further flags */
static bool disk_files(struct disk *d, int flags)
{
	char path[PATH_MAX];

	test_pathf(path, "%s/file", d->dir);
	if (test_write_file(path, d->old, SIZE))
		return complain(path);
	d->file = test_add_path(&d->env, "file", path, O_RDWR);
	if (!d->file || test_back(d->file) < 0)
		return complain(path);
	d->backing_fd = d->file->fd;
	d->fd = test_open(d->file, O_RDWR | flags);

	test_pathf(path, "%s/local", d->dir);
	if (test_write_file(path, d->old, SIZE))
		return complain(path);
	d->local_fd = open(path, O_RDWR | O_CLOEXEC | flags);
	return d->fd >= 0 && d->local_fd >= 0 && !fsync(d->backing_fd) &&
	       !fsync(d->local_fd);
}

static bool disk_make(struct disk *d, const char *features, const char *options)
{
	char image[PATH_MAX];

	test_pathf(image, "%s/image", d->below);
	return disk_image(d, image, features) && disk_mount(d, image, options);
}

static bool disk_setup(struct disk *d, bool journal)
{
	d->fd = -1;
	d->local_fd = -1;
	d->frozen_fd = -1;
	if (posix_memalign((void **)&d->old, PAGE, SIZE) ||
	    posix_memalign((void **)&d->new, PAGE, SIZE) ||
	    posix_memalign((void **)&d->buf, PAGE, SIZE))
		return complain("memory");
	test_pattern(d->old, SIZE, 1);
	test_pattern(d->new, SIZE, 2);

	if (test_setup(&d->env) ||
	    test_mount(&d->env, "below", "tmpfs", ROOMY, d->below))
		return complain("tmpfs");
	test_pathf(d->dir, "%s/disk", d->env.dir);
	if (mkdir(d->dir, 0755))
		return complain(d->dir);

	/* With quotas, if the kernel has them */
	d->quota = !journal && disk_make(d, WITH_QUOTA,
					  "errors=remount-ro,usrquota");
	if (!d->quota && !disk_make(d, journal ? WITH_JOURNAL : NO_JOURNAL,
				    "errors=remount-ro"))
		return complain("ext4 on a loop device");
	return !test_start(&d->env) || complain("server");
}

static void disk_thaw(struct disk *d)
{
	if (d->frozen_fd >= 0)
		ioctl(d->frozen_fd, FITHAW, 0);
	test_close(&d->frozen_fd);
}

static void disk_teardown(struct disk *d)
{
	disk_thaw(d);
	test_close(&d->fd);
	test_close(&d->local_fd);
	test_teardown(&d->env);
	umount2(d->dir, MNT_DETACH);
	umount2(d->below, MNT_DETACH);
	free(d->old);
	free(d->new);
	free(d->buf);
}

static bool has_program(const char *name)
{
	const char *path = getenv("PATH");
	char dir[PATH_MAX], file[PATH_MAX];

	while (path && *path) {
		size_t len = strcspn(path, ":");

		snprintf(dir, sizeof(dir), "%.*s", (int)len, path);
		test_pathf(file, "%s/%s", dir, name);
		if (!access(file, X_OK))
			return true;
		path += len + !!path[len];
	}
	return false;
}

/* What there has to be, but is not; or NULL */
static const char *disk_needs(void)
{
	if (!has_program("mkfs.ext4"))
		return "no mkfs.ext4: install e2fsprogs";
	if (access("/dev/loop-control", R_OK | W_OK))
		return "no loop devices: enable CONFIG_BLK_DEV_LOOP";
	return NULL;
}

/* Troubles of the file system, and their end */

/* Leaves no block free; what remains of a fallocate() that fails is kept. */
static bool disk_fill(struct disk *d)
{
	char path[PATH_MAX];
	off_t len, end = 0;
	int fd;

	test_pathf(path, "%s/filler", d->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return complain(path);
	for (len = 4 << 20; len >= PAGE; len /= 2)
		while (!fallocate(fd, 0, end, len))
			end += len;
	if (fsync(fd))
		return complain(path);
	close(fd);
	return true;
}

static bool disk_empty(struct disk *d)
{
	char path[PATH_MAX];
	int fd = open(d->dir, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || unlink(test_pathf(path, "%s/filler", d->dir)) ||
	    syncfs(fd))
		return complain("unlink");
	close(fd);
	return true;
}

/*
 * The tmpfs has no space for more of the image than there is. That is EIO for
 * the writes of blocks that have not been written before, when they end.
 */
static bool disk_tighten(struct disk *d)
{
	char options[64];
	struct statfs st;

	if (statfs(d->below, &st))
		return complain("statfs");
	snprintf(options, sizeof(options), "size=%llu",
		 (unsigned long long)(st.f_blocks - st.f_bfree) * st.f_bsize);
	return !mount(NULL, d->below, NULL, MS_REMOUNT, options) ||
	       complain("remount");
}

static bool disk_loosen(struct disk *d)
{
	return !mount(NULL, d->below, NULL, MS_REMOUNT, ROOMY) ||
	       complain("remount");
}

/* Blocks after the data, which have not been written */
static bool disk_allocate(struct disk *d)
{
	return (!fallocate(d->backing_fd, 0, SIZE, SIZE) &&
		!fallocate(d->local_fd, 0, SIZE, SIZE) &&
		!fsync(d->backing_fd) && !fsync(d->local_fd)) ||
	       complain("fallocate");
}

static bool set_immutable(int fd, bool on)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return complain("FS_IOC_GETFLAGS");
	flags &= ~FS_IMMUTABLE_FL;
	if (on)
		flags |= FS_IMMUTABLE_FL;
	return !ioctl(fd, FS_IOC_SETFLAGS, &flags) ||
	       complain("FS_IOC_SETFLAGS");
}

/* Both files belong to somebody who may not have a block more. */
static bool disk_limit(struct disk *d, bool limit)
{
	struct dqblk quota = { };

	if (fchown(d->backing_fd, TEST_UID, TEST_GID) ||
	    fchown(d->local_fd, TEST_UID, TEST_GID) ||
	    quotactl(QCMD(Q_GETQUOTA, USRQUOTA), d->dev, TEST_UID,
		     (void *)&quota))
		return complain("Q_GETQUOTA");
	quota.dqb_bhardlimit = limit ? quota.dqb_curspace / 1024 : 0;
	quota.dqb_valid = QIF_BLIMITS;
	return !quotactl(QCMD(Q_SETQUOTA, USRQUOTA), d->dev, TEST_UID,
			 (void *)&quota) || complain("Q_SETQUOTA");
}

static bool disk_freeze(struct disk *d)
{
	d->frozen_fd = open(d->dir, O_RDONLY | O_CLOEXEC);
	return !ioctl(d->frozen_fd, FIFREEZE, 0) || complain("FIFREEZE");
}

/* As if ext4 had found its metadata broken: with errors=remount-ro */
static bool disk_make_read_only(struct disk *d)
{
	char path[PATH_MAX];
	int fd;

	test_pathf(path, "/sys/fs/ext4/%s/trigger_fs_error",
		   strrchr(d->dev, '/') + 1);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "test", 4) != 4)
		return complain(path);
	close(fd);
	return true;
}

/* Largest size of a file on the ext4, which is less than on the FUSE mount */
static off_t max_size(int fd)
{
	off_t low = 0, high = LLONG_MAX;

	while (low < high) {
		off_t middle = low + (high - low) / 2 + 1;

		if (lseek(fd, middle, SEEK_SET) == middle)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

#define FAIL_REQUEST "/sys/kernel/debug/fail_make_request/"
#define FAILING(name, text) { .path = FAIL_REQUEST name, .value = text, \
			      .needed = true }

#define NO_FAIL_REQUEST \
	"no " FAIL_REQUEST ": mount debugfs, enable CONFIG_FAIL_MAKE_REQUEST"

/* All that a device with make-it-fail is asked for fails. */
static struct test_knob fail_requests[] = {
	FAILING("verbose", "0"),
	FAILING("task-filter", "N"),
	FAILING("space", "0"),
	FAILING("interval", "1"),
	FAILING("times", "-1"),
	FAILING("probability", "100"),
};

static bool disk_make_fail(struct disk *d, bool fail)
{
	char path[PATH_MAX];
	int fd;

	test_pathf(path, "/sys/block/%s/make-it-fail",
		   strrchr(d->dev, '/') + 1);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, fail ? "1" : "0", 1) != 1)
		return complain(path);
	close(fd);
	return true;
}

/* The roads */

#define BY_VARIANT	FIXTURE_VARIANT(by)

FIXTURE(by)
{
	struct disk d;
};

FIXTURE_VARIANT(by)
{
	enum way way;
	int rwf;		/* of pwritev2() */
	int flags;		/* of the open */
	bool on_disk;		/* what is written is, when the call returns */
};

FIXTURE_VARIANT_ADD(by, write)
{
	.way = PLAIN,
};

FIXTURE_VARIANT_ADD(by, pwritev2_dsync)
{
	.way = VECTORED,
	.rwf = RWF_DSYNC,
	.on_disk = true,
};

FIXTURE_VARIANT_ADD(by, o_direct)
{
	.way = PLAIN,
	.flags = O_DIRECT,
	.on_disk = true,
};

FIXTURE_VARIANT_ADD(by, io_submit_o_direct)
{
	.way = AIO,
	.flags = O_DIRECT,
	.on_disk = true,
};

FIXTURE_VARIANT_ADD(by, io_uring)
{
	.way = URING,
};

FIXTURE_VARIANT_ADD(by, io_uring_o_direct)
{
	.way = URING,
	.flags = O_DIRECT,
	.on_disk = true,
};

FIXTURE_VARIANT_ADD(by, splice)
{
	.way = SPLICE,
};

FIXTURE_VARIANT_ADD(by, sendfile)
{
	.way = SENDFILE,
};

static ssize_t put(const BY_VARIANT *variant, int fd, void *buf,
		   off_t off)
{
	struct iovec iov = { buf, LEN };
	ssize_t n;

	if (!variant->rwf)
		return do_write(variant->way, fd, buf, LEN, off);
	n = pwritev2(fd, &iov, 1, off, variant->rwf);
	return n < 0 ? -errno : n;
}

static ssize_t get(const BY_VARIANT *variant, int fd, void *buf,
		   off_t off)
{
	return do_read(variant->way, fd, buf, LEN, off);
}

FIXTURE_SETUP(by)
{
	struct disk *d = &self->d;

	if (variant->way == AIO && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	if (disk_needs())
		SKIP(_exit(255), "%s", disk_needs());
	ASSERT_TRUE(disk_setup(d, false));
	TEST_NEEDS_PASSTHROUGH(&d->env);
	ASSERT_TRUE(disk_files(d, variant->flags));
	if (do_read(variant->way, d->local_fd, d->buf, LEN, 0) == -ENOSYS)
		SKIP(_exit(255), "no io_uring: enable CONFIG_IO_URING");
}

FIXTURE_TEARDOWN(by)
{
	EXPECT_EQ(0, test_count(&self->d.env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->d.env, FUSE_WRITE));
	disk_teardown(&self->d);
}

/* The FUSE file is as large as the backing file. */
static bool has_size(struct disk *d, off_t size)
{
	off_t backing = test_size(d->backing_fd);
	off_t fuse = test_size(d->fd);

	if (backing == size && fuse == size)
		return true;
	fprintf(stderr, "# size %lld, of the backing file %lld, must be %lld\n",
		(long long)fuse, (long long)backing, (long long)size);
	return false;
}

static bool is_unchanged(struct disk *d)
{
	return has_size(d, SIZE) && test_has(d->backing_fd, 0, d->old, SIZE);
}

static bool same(ssize_t usual, ssize_t n, const char *what)
{
	if (n != usual)
		fprintf(stderr, "# %s: %zd through FUSE, %zd locally\n", what,
			n, usual);
	return n == usual;
}

/* Writes to the file on the FUSE mount, and to the one on the ext4 itself. */
static bool write_as_locally(struct disk *d, const BY_VARIANT *variant,
			     off_t off, ssize_t *n)
{
	*n = put(variant, d->local_fd, d->new, off);
	return same(*n, put(variant, d->fd, d->new, off), "write");
}

static bool write_fails(struct disk *d, const BY_VARIANT *variant, off_t off,
			int err)
{
	ssize_t n;

	if (!write_as_locally(d, variant, off, &n))
		return false;
	if (n != -err)
		fprintf(stderr, "# write: %zd, must be %d\n", n, -err);
	return n == -err;
}

/* As it is when there is no error */
static bool write_works(struct disk *d, const BY_VARIANT *variant, off_t off)
{
	ssize_t n = put(variant, d->fd, d->new, off);

	if (n != LEN)
		fprintf(stderr, "# write: %zd, must be %d\n", n, LEN);
	return n == LEN && !fsync(d->fd) && !test_drop_cache(d->backing_fd) &&
	       test_has(d->backing_fd, off, d->new, LEN) &&
	       has_size(d, test_size(d->backing_fd));
}

TEST_F(by, to_a_full_file_system_is_enospc)
{
	struct disk *d = &self->d;

	ASSERT_TRUE(disk_fill(d));
	EXPECT_TRUE(write_fails(d, variant, SIZE, ENOSPC));
	EXPECT_TRUE(is_unchanged(d));
	/* There is no need for a new block */
	EXPECT_TRUE(write_works(d, variant, 0));
	ASSERT_TRUE(disk_empty(d));
	EXPECT_TRUE(write_works(d, variant, SIZE));
	EXPECT_TRUE(has_size(d, SIZE + LEN));
}

TEST_F(by, beyond_the_largest_size_is_efbig)
{
	struct disk *d = &self->d;
	off_t max = max_size(d->local_fd);

	ASSERT_EQ(0, max % PAGE);
	EXPECT_TRUE(write_fails(d, variant, max, EFBIG));
	EXPECT_TRUE(is_unchanged(d));
	EXPECT_EQ(-1, ftruncate(d->fd, max + 1));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_TRUE(is_unchanged(d));
	EXPECT_TRUE(write_works(d, variant, 0));
}

TEST_F(by, across_the_largest_size_is_short)
{
	struct disk *d = &self->d;
	off_t off = max_size(d->local_fd) - PAGE;

	EXPECT_EQ(PAGE, put(variant, d->local_fd, d->new, off));
	EXPECT_EQ(PAGE, put(variant, d->fd, d->new, off));
	EXPECT_TRUE(has_size(d, off + PAGE));
	EXPECT_TRUE(test_has(d->backing_fd, 0, d->old, SIZE));
	EXPECT_TRUE(test_has(d->backing_fd, off, d->new, PAGE));
}

TEST_F(by, to_an_immutable_file_is_eperm)
{
	struct disk *d = &self->d;

	ASSERT_TRUE(set_immutable(d->backing_fd, true));
	ASSERT_TRUE(set_immutable(d->local_fd, true));
	EXPECT_TRUE(write_fails(d, variant, 0, EPERM));
	EXPECT_TRUE(write_fails(d, variant, SIZE, EPERM));
	EXPECT_TRUE(is_unchanged(d));
	EXPECT_EQ(LEN, get(variant, d->fd, d->buf, 0));
	EXPECT_EQ(0, memcmp(d->buf, d->old, LEN));
	ASSERT_TRUE(set_immutable(d->backing_fd, false));
	EXPECT_TRUE(write_works(d, variant, 0));
}

/* What fsync() says: 0 or a positive errno */
static int sync_error(int fd)
{
	return fsync(fd) ? errno : 0;
}

static int msync_error(void *map)
{
	return msync(map, 2 * SIZE, MS_SYNC) ? errno : 0;
}

/*
 * A write that has no need to be on disk yet may go through, and it is fsync()
 * that fails. There is no way back from here but to unmount.
 */
TEST_F(by, to_a_file_system_that_has_become_read_only_is_erofs)
{
	struct disk *d = &self->d;
	ssize_t n;
	int err;

	/* Without a journal, ext4 of 6.1 lets everything through */
	disk_teardown(d);
	ASSERT_TRUE(disk_setup(d, true));
	ASSERT_TRUE(disk_files(d, variant->flags));
	ASSERT_TRUE(disk_make_read_only(d));
	EXPECT_TRUE(write_as_locally(d, variant, SIZE, &n));
	err = sync_error(d->local_fd);
	EXPECT_TRUE(same(err, sync_error(d->fd), "fsync"));
	EXPECT_TRUE(n == -EROFS || err == EROFS);
	EXPECT_TRUE(has_size(d, test_size(d->local_fd)));
	EXPECT_EQ(LEN, get(variant, d->fd, d->buf, 0));
	EXPECT_EQ(0, memcmp(d->buf, d->old, LEN));
}

/* A loop device without space says EIO, or ENOSPC, as mainline's does. */
static bool is_disk_error(int err)
{
	if (err != EIO && err != ENOSPC)
		fprintf(stderr, "# %s, must be EIO or ENOSPC\n", strerror(err));
	return err == EIO || err == ENOSPC;
}

/* Buffered writes go through, and fsync() tells of the error, once. */
TEST_F(by, to_blocks_that_cannot_be_written_fails)
{
	struct disk *d = &self->d;
	int usual, syncs;
	ssize_t n;

	ASSERT_TRUE(disk_allocate(d));
	ASSERT_TRUE(disk_tighten(d));
	if (variant->on_disk) {
		EXPECT_TRUE(write_as_locally(d, variant, SIZE, &n));
		ASSERT_TRUE(is_disk_error(-n));
	} else {
		EXPECT_EQ(LEN, put(variant, d->local_fd, d->new, SIZE));
		EXPECT_EQ(LEN, put(variant, d->fd, d->new, SIZE));
		usual = sync_error(d->local_fd);
		ASSERT_TRUE(is_disk_error(usual));
		EXPECT_EQ(0, sync_error(d->local_fd));
		syncs = test_count(&d->env, FUSE_FSYNC);
		EXPECT_EQ(usual, sync_error(d->fd));
		EXPECT_EQ(0, sync_error(d->fd));
		EXPECT_EQ(2, test_count(&d->env, FUSE_FSYNC) - syncs);
	}
	EXPECT_TRUE(has_size(d, 2 * SIZE));
	EXPECT_TRUE(test_has(d->backing_fd, 0, d->old, SIZE));

	ASSERT_TRUE(disk_loosen(d));
	/*
	 * The page cache still has what did not reach the disk. It is left out
	 * of account, errors that were not told included.
	 */
	sync_error(d->backing_fd);
	ASSERT_EQ(0, test_drop_cache(d->backing_fd));
	EXPECT_TRUE(write_works(d, variant, SIZE));
	EXPECT_TRUE(has_size(d, 2 * SIZE));
}

TEST_F(by, of_blocks_that_cannot_be_read_is_eio)
{
	struct disk *d = &self->d;

	if (test_set_knobs(fail_requests, ARRAY_SIZE(fail_requests)))
		SKIP(return, NO_FAIL_REQUEST);
	EXPECT_EQ(0, test_drop_cache(d->backing_fd));
	EXPECT_EQ(0, test_drop_cache(d->local_fd));
	EXPECT_TRUE(disk_make_fail(d, true));
	EXPECT_EQ(-EIO, get(variant, d->local_fd, d->buf, 0));
	EXPECT_EQ(-EIO, get(variant, d->fd, d->buf, 0));
	EXPECT_TRUE(disk_make_fail(d, false));
	test_restore_knobs(fail_requests, ARRAY_SIZE(fail_requests));
	EXPECT_TRUE(has_size(d, SIZE));
	EXPECT_EQ(LEN, get(variant, d->fd, d->buf, 0));
	EXPECT_EQ(0, memcmp(d->buf, d->old, LEN));
}

/* A write that waits until the file system is thawed */
struct waiter {
	pthread_t thread;
	const BY_VARIANT *variant;
	struct disk *d;
	ssize_t res;
	bool done;		/* atomic */
};

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;

	w->res = put(w->variant, w->d->fd, w->d->new, 0);
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool waiter_is_done(struct waiter *w)
{
	usleep(200000);
	return __atomic_load_n(&w->done, __ATOMIC_ACQUIRE);
}

TEST_F(by, to_a_frozen_file_system_waits)
{
	struct disk *d = &self->d;
	struct waiter w = { .variant = variant, .d = d };

	ASSERT_TRUE(disk_freeze(d));
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, waiter_main, &w));
	EXPECT_FALSE(waiter_is_done(&w));
	/* Reads do not wait, and what waits has changed nothing */
	EXPECT_TRUE(is_unchanged(d));
	disk_thaw(d);
	ASSERT_EQ(0, pthread_join(w.thread, NULL));
	EXPECT_EQ(LEN, w.res);
	EXPECT_TRUE(test_has(d->backing_fd, 0, d->new, LEN));
	EXPECT_TRUE(has_size(d, SIZE));
}

/* Who may exceed quotas is who registered the file, as on a local file who writes */

#define NO_QUOTA "no quotas: enable CONFIG_QUOTA and CONFIG_QFMT_V2"

/* Registers and opens the file anew, without the right to exceed quotas. */
static bool disk_heed_quotas(struct disk *d, int flags)
{
	if (test_drop_cap(CAP_SYS_RESOURCE))
		return complain("capset");
	test_close(&d->fd);
	if (test_back(d->file) < 0)
		return complain("BACKING_OPEN");
	d->fd = test_open(d->file, O_RDWR | flags);
	return d->fd >= 0 || complain("open");
}

TEST_F(by, beyond_the_quota_is_edquot)
{
	struct disk *d = &self->d;

	if (!d->quota)
		SKIP(return, NO_QUOTA);
	ASSERT_TRUE(disk_heed_quotas(d, variant->flags));
	ASSERT_TRUE(disk_limit(d, true));
	EXPECT_TRUE(write_fails(d, variant, SIZE, EDQUOT));
	EXPECT_TRUE(is_unchanged(d));
	EXPECT_TRUE(write_works(d, variant, 0));
	ASSERT_TRUE(disk_limit(d, false));
	EXPECT_TRUE(write_works(d, variant, SIZE));
	EXPECT_TRUE(has_size(d, SIZE + LEN));
}

TEST_F(by, beyond_the_quota_works_if_the_registrar_may)
{
	struct disk *d = &self->d;

	if (!d->quota)
		SKIP(return, NO_QUOTA);
	ASSERT_TRUE(disk_limit(d, true));
	ASSERT_EQ(0, test_drop_cap(CAP_SYS_RESOURCE));
	EXPECT_EQ(-EDQUOT, put(variant, d->local_fd, d->new, SIZE));
	EXPECT_TRUE(write_works(d, variant, SIZE));
	EXPECT_TRUE(has_size(d, SIZE + LEN));
}

/* Mappings: an error is a SIGBUS, or that of msync() */

static sigjmp_buf sigbus_env;

static void on_sigbus(int sig)
{
	siglongjmp(sigbus_env, 1);
}

/* False if that was a SIGBUS */
static bool store(char *to, const char *data)
{
	if (sigsetjmp(sigbus_env, 1))
		return false;
	memcpy(to, data, LEN);
	return true;
}

#define MAPPED	FIXTURE_DATA(mapped)

FIXTURE(mapped)
{
	struct disk d;
	char *map;		/* of 2 * SIZE of the file through the mount */
	char *local;		/* of the other one */
};

static char *map_file(int fd)
{
	void *map = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 0);

	return map == MAP_FAILED ? NULL : map;
}

static void unmap_files(MAPPED *self)
{
	if (self->map)
		munmap(self->map, 2 * SIZE);
	if (self->local)
		munmap(self->local, 2 * SIZE);
	self->map = NULL;
	self->local = NULL;
}

FIXTURE_SETUP(mapped)
{
	struct disk *d = &self->d;
	struct sigaction action = { .sa_handler = on_sigbus };

	if (disk_needs())
		SKIP(_exit(255), "%s", disk_needs());
	ASSERT_TRUE(disk_setup(d, false));
	TEST_NEEDS_PASSTHROUGH(&d->env);
	ASSERT_TRUE(disk_files(d, 0));
	self->map = map_file(d->fd);
	self->local = map_file(d->local_fd);
	ASSERT_TRUE(self->map && self->local);
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
}

FIXTURE_TEARDOWN(mapped)
{
	EXPECT_EQ(0, test_count(&self->d.env, FUSE_READ));
	EXPECT_EQ(0, test_count(&self->d.env, FUSE_WRITE));
	unmap_files(self);
	disk_teardown(&self->d);
}

/* Makes both files larger by a hole. */
static bool disk_extend(struct disk *d)
{
	return (!ftruncate(d->fd, 2 * SIZE) &&
		!ftruncate(d->local_fd, 2 * SIZE)) || complain("ftruncate");
}

static bool store_fails(MAPPED *self, off_t off)
{
	return !store(self->local + off, self->d.new) &&
	       !store(self->map + off, self->d.new);
}

static bool store_works(MAPPED *self, off_t off)
{
	return store(self->map + off, self->d.new) && !msync_error(self->map) &&
	       test_has(self->d.backing_fd, off, self->d.new, LEN);
}

TEST_F(mapped, store_to_a_full_file_system_is_sigbus)
{
	struct disk *d = &self->d;

	ASSERT_TRUE(disk_extend(d));
	ASSERT_TRUE(disk_fill(d));
	EXPECT_TRUE(store_fails(self, SIZE));
	EXPECT_TRUE(has_size(d, 2 * SIZE));
	EXPECT_TRUE(store_works(self, 0));
	ASSERT_TRUE(disk_empty(d));
	EXPECT_TRUE(store_works(self, SIZE));
	EXPECT_TRUE(has_size(d, 2 * SIZE));
}

/* A fault is the user's, not the registrar's. */
TEST_F(mapped, store_beyond_the_quota_is_sigbus)
{
	struct disk *d = &self->d;

	if (!d->quota)
		SKIP(return, NO_QUOTA);
	ASSERT_TRUE(disk_extend(d));
	ASSERT_TRUE(disk_limit(d, true));
	ASSERT_EQ(0, test_drop_cap(CAP_SYS_RESOURCE));
	EXPECT_TRUE(store_fails(self, SIZE));
	EXPECT_TRUE(has_size(d, 2 * SIZE));
	EXPECT_TRUE(store_works(self, 0));
	ASSERT_TRUE(disk_limit(d, false));
	EXPECT_TRUE(store_works(self, SIZE));
}

TEST_F(mapped, store_to_an_immutable_file_is_sigbus)
{
	struct disk *d = &self->d;

	ASSERT_TRUE(set_immutable(d->backing_fd, true));
	ASSERT_TRUE(set_immutable(d->local_fd, true));
	EXPECT_TRUE(store_fails(self, 0));
	EXPECT_EQ(0, memcmp(self->map, d->old, SIZE));
	EXPECT_TRUE(is_unchanged(d));
	ASSERT_TRUE(set_immutable(d->backing_fd, false));
	EXPECT_TRUE(store_works(self, 0));
}

TEST_F(mapped, store_to_a_file_system_that_has_become_read_only_is_as_locally)
{
	struct disk *d = &self->d;
	bool stored;
	int err;

	unmap_files(self);
	disk_teardown(d);
	ASSERT_TRUE(disk_setup(d, true));
	ASSERT_TRUE(disk_files(d, 0));
	self->map = map_file(d->fd);
	self->local = map_file(d->local_fd);
	ASSERT_TRUE(self->map && self->local);

	ASSERT_TRUE(disk_extend(d));
	ASSERT_TRUE(disk_make_read_only(d));
	/* ext4 may do without a block until the page is written to disk */
	stored = store(self->local + SIZE, d->new);
	EXPECT_EQ(stored, store(self->map + SIZE, d->new));
	err = msync_error(self->local);
	EXPECT_EQ(err, msync_error(self->map));
	EXPECT_TRUE(!stored || err == EROFS);
	EXPECT_TRUE(same(sync_error(d->local_fd), sync_error(d->fd), "fsync"));
	EXPECT_TRUE(has_size(d, 2 * SIZE));
	EXPECT_EQ(0, memcmp(self->map, d->old, SIZE));
}

/* msync() asks the backing file itself, and fsync() the server. */
TEST_F(mapped, store_to_blocks_that_cannot_be_written_fails_msync)
{
	struct disk *d = &self->d;
	int usual, syncs;

	ASSERT_TRUE(disk_allocate(d));
	ASSERT_TRUE(disk_tighten(d));
	EXPECT_TRUE(store(self->local + SIZE, d->new));
	EXPECT_TRUE(store(self->map + SIZE, d->new));
	usual = msync_error(self->local);
	ASSERT_TRUE(is_disk_error(usual));
	EXPECT_EQ(0, msync_error(self->local));
	syncs = test_count(&d->env, FUSE_FSYNC);
	EXPECT_EQ(usual, msync_error(self->map));
	EXPECT_EQ(0, msync_error(self->map));
	EXPECT_EQ(syncs, test_count(&d->env, FUSE_FSYNC));
	/* The server's is another open file, which has not been told yet */
	EXPECT_EQ(usual, sync_error(d->fd));
	EXPECT_EQ(0, sync_error(d->fd));
	ASSERT_TRUE(disk_loosen(d));
	EXPECT_TRUE(store_works(self, SIZE));
	EXPECT_TRUE(has_size(d, 2 * SIZE));
}

TEST_F(mapped, load_of_blocks_that_cannot_be_read_is_sigbus)
{
	struct disk *d = &self->d;

	if (test_set_knobs(fail_requests, ARRAY_SIZE(fail_requests)))
		SKIP(return, NO_FAIL_REQUEST);
	EXPECT_EQ(0, test_drop_cache(d->backing_fd));
	EXPECT_EQ(0, test_drop_cache(d->local_fd));
	EXPECT_TRUE(disk_make_fail(d, true));
	EXPECT_FALSE(store(d->buf, self->local));
	EXPECT_FALSE(store(d->buf, self->map));
	EXPECT_TRUE(disk_make_fail(d, false));
	test_restore_knobs(fail_requests, ARRAY_SIZE(fail_requests));
	ASSERT_TRUE(store(d->buf, self->map));
	EXPECT_EQ(0, memcmp(d->buf, d->old, LEN));
	EXPECT_TRUE(store_works(self, 0));
}

TEST_HARNESS_MAIN
