// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: a write strips setuid, setgid and security.capability just
 * as it does on a local file, and as the user who writes, whatever the server
 * negotiated about that. Only a file that has something to strip costs a
 * request.
 */
#include "test_common.h"

#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define SIZE	4096
#define WRITES	50
#define CAPABILITY	"security.capability"

/* cap_net_raw+ep, as setcap(8) writes it */
static const unsigned char capability[20] = { 1, 0, 0, 2, 0, 0x20, 0, 0 };

/* Ways of changing what is in a file. Each returns 0 or an errno. */

static const char text[] = "new";

static int changed(ssize_t n)
{
	if (n == sizeof(text))
		return 0;
	return n < 0 ? -n : EIO;
}

static int by_write(int fd)
{
	return changed(do_write(PLAIN, fd, text, sizeof(text), 0));
}

static int by_pwritev2(int fd)
{
	return changed(do_write(VECTORED, fd, text, sizeof(text), 0));
}

static int by_io_submit(int fd)
{
	return changed(do_write(AIO, fd, text, sizeof(text), 0));
}

static int by_splice(int fd)
{
	return changed(do_write(SPLICE, fd, text, sizeof(text), 0));
}

static int by_mapping(int fd)
{
	char *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return errno;
	memcpy(map, text, sizeof(text));
	return munmap(map, SIZE) ? errno : 0;
}

static int by_ftruncate(int fd)
{
	return ftruncate(fd, SIZE / 2) ? errno : 0;
}

/* Who does it */

enum who {
	ROOT,
	USER,
	USER_WITH_FSETID,	/* and no other capability */
};

static int keep_fsetid_only(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	data[0].permitted = CAP_TO_MASK(CAP_FSETID);
	data[0].effective = CAP_TO_MASK(CAP_FSETID);
	return syscall(SYS_capset, &header, data);
}

static int become(enum who by)
{
	if (by == ROOT)
		return 0;
	if (by == USER_WITH_FSETID && prctl(PR_SET_KEEPCAPS, 1))
		return -1;
	if (setgroups(0, NULL) || setgid(TEST_GID) || setuid(TEST_UID))
		return -1;
	return by == USER_WITH_FSETID ? keep_fsetid_only() : 0;
}

struct writer {
	enum who by;
	int (*write)(int fd);
	int fd;
	int times;
};

static int run_writer(void *arg)
{
	struct writer *writer = arg;
	int i, err = 0;

	if (become(writer->by))
		return 254;
	for (i = 0; !err && i < writer->times; i++)
		err = writer->write(writer->fd);
	return err;
}

static int write_as(enum who by, int (*write)(int fd), int fd, int times)
{
	struct writer writer = { by, write, fd, times };

	return test_in_child(run_writer, &writer);
}

/*
 * A file through the mount, and one that FUSE knows nothing of, to see what is
 * usual.
 */
struct files {
	struct test_env env;
	struct test_file *file;
	int fd;			/* through the mount */
	int backing_fd;
	int local_fd;
	int asked;		/* by GETXATTR, while it was written */
	/* What was not the same for the two */
	mode_t mode;		/* before */
	mode_t left;		/* after; S_IFMT: the write failed */
	mode_t usual;		/* after, of the local file */
};

static bool files_setup(struct files *f, uint32_t init_flags)
{
	f->fd = -1;
	f->local_fd = -1;
	if (test_setup(&f->env))
		return false;
	f->env.config.init_flags |= init_flags;
	return !test_start(&f->env);
}

static bool files_open(struct files *f)
{
	static char data[SIZE];
	char path[PATH_MAX];

	test_pathf(path, "%s/local", f->env.backing);
	if (test_write_file(path, data, SIZE))
		return false;
	f->local_fd = open(path, O_RDWR | O_CLOEXEC);
	f->fd = test_open_new(&f->env, "file", data, SIZE, O_RDWR, &f->file);
	if (f->local_fd < 0 || f->fd < 0)
		return false;
	f->backing_fd = f->file->fd;
	/* The server has no FLUSH: let the kernel find out before we count */
	close(dup(f->fd));
	return true;
}

static void files_close(struct files *f)
{
	if (f->fd >= 0)
		close(f->fd);
	if (f->local_fd >= 0)
		close(f->local_fd);
	test_teardown(&f->env);
}

static bool negotiated(struct files *f, uint32_t init_flags)
{
	return (fuse_server_init_out(f->env.srv)->flags & init_flags) ==
	       init_flags;
}

/* chown(2) would strip what chmod(2) sets */
static bool set_mode(int fd, gid_t gid, mode_t mode)
{
	return !fchown(fd, 0, gid) && !fchmod(fd, mode) &&
	       test_mode(fd) == (int)mode;
}

/* Has the same happened to the local file, the backing file and through FUSE? */
static bool mode_is_as_locally(struct files *f, enum who by,
			       int (*write)(int fd), mode_t mode)
{
	int asked = test_count(&f->env, FUSE_GETXATTR);

	f->mode = mode;
	f->usual = S_IFMT;
	f->left = S_IFMT;
	if (write_as(by, write, f->local_fd, 1) ||
	    write_as(by, write, f->fd, 1))
		return false;
	f->asked += test_count(&f->env, FUSE_GETXATTR) - asked;
	f->usual = test_mode(f->local_fd);
	f->left = test_mode(f->backing_fd);
	/* A store gives no occasion to learn of what the server did itself */
	if (f->left == f->usual && write != by_mapping)
		f->left = test_mode(f->fd);
	return f->left == f->usual;
}

/* Both sides know the mode. */
static bool strips_as_locally(struct files *f, enum who by,
			      int (*write)(int fd))
{
	static const struct {
		mode_t mode;
		gid_t gid;
	} cases[] = {
		{ 0755, 0 },
		{ 04755, 0 },
		{ 02755, 0 },
		{ 06755, 0 },
		{ 02755, TEST_GID },
		/* Without execution by the group setgid once meant other things */
		{ 02745, 0 },
		{ 06745, 0 },
		{ 02745, TEST_GID },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		f->mode = cases[i].mode;
		f->left = S_IFMT;
		if (!set_mode(f->local_fd, cases[i].gid, cases[i].mode) ||
		    !set_mode(f->fd, cases[i].gid, cases[i].mode) ||
		    !mode_is_as_locally(f, by, write, cases[i].mode))
			return false;
	}
	return true;
}

/* @statement is as in SKIP() */
#define ASSERT_AS_LOCALLY(statement, cond) \
	ASSERT_OR_XFAIL(statement, &self->f.env, cond, \
			"leaves mode %#o of %#o, and a local file has %#o", \
			self->f.left, self->f.mode, self->f.usual)

FIXTURE(strip)
{
	struct files f;
};

FIXTURE_VARIANT(strip)
{
	int (*write)(int fd);
	uint32_t init_flags;
};

FIXTURE_VARIANT_ADD(strip, write)
{
	.write = by_write,
};

FIXTURE_VARIANT_ADD(strip, write_killpriv)
{
	.write = by_write,
	.init_flags = FUSE_HANDLE_KILLPRIV,
};

FIXTURE_VARIANT_ADD(strip, write_killpriv_v2)
{
	.write = by_write,
	.init_flags = FUSE_HANDLE_KILLPRIV_V2,
};

FIXTURE_VARIANT_ADD(strip, pwritev2)
{
	.write = by_pwritev2,
};

FIXTURE_VARIANT_ADD(strip, pwritev2_killpriv)
{
	.write = by_pwritev2,
	.init_flags = FUSE_HANDLE_KILLPRIV,
};

FIXTURE_VARIANT_ADD(strip, pwritev2_killpriv_v2)
{
	.write = by_pwritev2,
	.init_flags = FUSE_HANDLE_KILLPRIV_V2,
};

FIXTURE_VARIANT_ADD(strip, io_submit)
{
	.write = by_io_submit,
};

FIXTURE_VARIANT_ADD(strip, io_submit_killpriv)
{
	.write = by_io_submit,
	.init_flags = FUSE_HANDLE_KILLPRIV,
};

FIXTURE_VARIANT_ADD(strip, io_submit_killpriv_v2)
{
	.write = by_io_submit,
	.init_flags = FUSE_HANDLE_KILLPRIV_V2,
};

FIXTURE_VARIANT_ADD(strip, splice)
{
	.write = by_splice,
};

FIXTURE_VARIANT_ADD(strip, splice_killpriv)
{
	.write = by_splice,
	.init_flags = FUSE_HANDLE_KILLPRIV,
};

FIXTURE_VARIANT_ADD(strip, splice_killpriv_v2)
{
	.write = by_splice,
	.init_flags = FUSE_HANDLE_KILLPRIV_V2,
};

/* A local file keeps everything then */
FIXTURE_VARIANT_ADD(strip, mapping)
{
	.write = by_mapping,
};

FIXTURE_VARIANT_ADD(strip, mapping_killpriv)
{
	.write = by_mapping,
	.init_flags = FUSE_HANDLE_KILLPRIV,
};

FIXTURE_VARIANT_ADD(strip, mapping_killpriv_v2)
{
	.write = by_mapping,
	.init_flags = FUSE_HANDLE_KILLPRIV_V2,
};

FIXTURE_SETUP(strip)
{
	if (variant->write == by_io_submit && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	ASSERT_TRUE(files_setup(&self->f, variant->init_flags));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(negotiated(&self->f, variant->init_flags));
	ASSERT_TRUE(files_open(&self->f));
}

FIXTURE_TEARDOWN(strip)
{
	struct test_env *env = &self->f.env;

	EXPECT_EQ(0, test_count(env, FUSE_READ));
	EXPECT_EQ(0, test_count(env, FUSE_WRITE));
	/* Mainline is found out by the tests below */
	if (!test_on_mainline(env))
		EXPECT_EQ(0, self->f.asked);
	files_close(&self->f);
}

TEST_F(strip, by_a_user_is_as_locally)
{
	struct files *f = &self->f;

	/* What is usual is not nothing */
	ASSERT_TRUE(set_mode(f->local_fd, 0, 06755));
	ASSERT_EQ(0, write_as(USER, variant->write, f->local_fd, 1));
	ASSERT_EQ(variant->write == by_mapping ? 06755 : 0755,
		  test_mode(f->local_fd));

	ASSERT_AS_LOCALLY(return, strips_as_locally(f, USER, variant->write));
}

TEST_F(strip, by_a_user_with_cap_fsetid_is_as_locally)
{
	struct files *f = &self->f;

	ASSERT_TRUE(set_mode(f->local_fd, 0, 06755));
	ASSERT_EQ(0, write_as(USER_WITH_FSETID, variant->write, f->local_fd,
			      1));
	ASSERT_EQ(06755, test_mode(f->local_fd));

	ASSERT_AS_LOCALLY(return, strips_as_locally(f, USER_WITH_FSETID,
						    variant->write));
}

TEST_F(strip, by_root_is_as_locally)
{
	struct files *f = &self->f;

	ASSERT_AS_LOCALLY(return, strips_as_locally(f, ROOT, variant->write));
}

/* The server's own doing, of which FUSE knows nothing */
TEST_F(strip, of_what_only_the_backing_file_has_is_as_locally)
{
	struct files *f = &self->f;

	ASSERT_TRUE(set_mode(f->local_fd, 0, 06755));
	ASSERT_TRUE(set_mode(f->fd, 0, 0755));
	ASSERT_EQ(0, fchmod(f->backing_fd, 06755));
	ASSERT_AS_LOCALLY(return, mode_is_as_locally(f, USER, variant->write,
						     06755));
}

TEST_F(strip, of_what_the_backing_file_has_lost_does_no_harm)
{
	struct files *f = &self->f;

	ASSERT_TRUE(set_mode(f->local_fd, 0, 0751));
	ASSERT_TRUE(set_mode(f->fd, 0, 06755));
	ASSERT_EQ(0, fchmod(f->backing_fd, 0751));
	ASSERT_AS_LOCALLY(return, mode_is_as_locally(f, USER, variant->write,
						     0751));
}

static bool has_capability(int fd)
{
	char buf[100];

	return fgetxattr(fd, CAPABILITY, buf, sizeof(buf)) >= 0;
}

static int set_capability(int fd)
{
	return fsetxattr(fd, CAPABILITY, capability, sizeof(capability), 0) ?
	       errno : 0;
}

#define NEEDS_CAPABILITY(statement) do { \
	if (set_capability(self->f.local_fd) == EOPNOTSUPP) \
		SKIP(statement, "no " CAPABILITY " on the file system"); \
} while (0)

TEST_F(strip, of_capability_is_as_locally)
{
	static const enum who all[] = { USER, ROOT, USER_WITH_FSETID };
	struct files *f = &self->f;
	size_t i;
	int sent;

	NEEDS_CAPABILITY(return);
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		ASSERT_EQ(0, set_capability(f->local_fd));
		ASSERT_EQ(0, set_capability(f->backing_fd));
		ASSERT_EQ(0, write_as(all[i], variant->write, f->local_fd, 1));
		ASSERT_EQ(0, write_as(all[i], variant->write, f->fd, 1));
		ASSERT_EQ(variant->write == by_mapping,
			  has_capability(f->local_fd));
		EXPECT_EQ(has_capability(f->local_fd),
			  has_capability(f->backing_fd));
	}
	sent = test_count(&f->env, FUSE_GETXATTR);
	ASSERT_OR_XFAIL(return, &f->env, !sent,
			"sends %d GETXATTR for 3 writes", sent);
}

/* Only a file that has something to strip costs a request */

FIXTURE(requests)
{
	struct files f;
};

FIXTURE_VARIANT(requests)
{
	uint32_t init_flags;
};

FIXTURE_VARIANT_ADD(requests, plain)
{
	.init_flags = 0,
};

FIXTURE_VARIANT_ADD(requests, killpriv)
{
	.init_flags = FUSE_HANDLE_KILLPRIV,
};

FIXTURE_VARIANT_ADD(requests, killpriv_v2)
{
	.init_flags = FUSE_HANDLE_KILLPRIV_V2,
};

FIXTURE_SETUP(requests)
{
	ASSERT_TRUE(files_setup(&self->f, variant->init_flags));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(negotiated(&self->f, variant->init_flags));
	ASSERT_TRUE(files_open(&self->f));
}

FIXTURE_TEARDOWN(requests)
{
	files_close(&self->f);
}

/* How many of them some writes send, or -1 if a write fails */
static int requests_of(struct files *f, enum who by, int times)
{
	int before = fuse_server_count_all(f->env.srv);

	if (write_as(by, by_write, f->fd, times))
		return -1;
	return (int)fuse_server_count_all(f->env.srv) - before;
}

TEST_F(requests, are_not_sent_if_there_is_nothing_to_strip)
{
	struct files *f = &self->f;
	int sent;

	ASSERT_TRUE(set_mode(f->fd, 0, 0755));
	sent = requests_of(f, USER, WRITES) + requests_of(f, ROOT, WRITES);
	ASSERT_OR_XFAIL(return, &f->env, !sent,
			"sends %d requests for %d writes", sent, 2 * WRITES);
}

TEST_F(requests, are_not_sent_if_there_is_nothing_that_this_user_strips)
{
	struct files *f = &self->f;
	int sent;

	ASSERT_TRUE(set_mode(f->fd, 0, 06755));
	sent = requests_of(f, ROOT, WRITES) +
	       requests_of(f, USER_WITH_FSETID, WRITES);
	EXPECT_EQ(06755, test_mode(f->backing_fd));
	ASSERT_OR_XFAIL(return, &f->env, !sent,
			"sends %d requests for %d writes", sent, 2 * WRITES);
}

TEST_F(requests, are_sent_for_the_first_write_to_a_setuid_file)
{
	struct files *f = &self->f;
	int sent;

	ASSERT_TRUE(set_mode(f->fd, 0, 06755));
	sent = requests_of(f, USER, 1);
	ASSERT_OR_XFAIL(return, &f->env, test_mode(f->backing_fd) == 0755,
			"leaves mode %#o", test_mode(f->backing_fd));
	/* The mode may be stale, so it is asked for before it is changed */
	ASSERT_OR_XFAIL(return, &f->env, sent == 1 || sent == 2,
			"sends %d requests for the first write", sent);
	EXPECT_EQ(1, test_count(&f->env, FUSE_SETATTR) - 2);
	sent = requests_of(f, USER, WRITES);
	ASSERT_OR_XFAIL(return, &f->env, !sent,
			"sends %d requests for the next %d writes", sent,
			WRITES);
}

TEST_F(requests, for_a_write_to_a_setuid_file_are_seen_by_watchers)
{
	struct files *f = &self->f;
	char path[PATH_MAX];
	int watch;

	ASSERT_TRUE(set_mode(f->fd, 0, 06755));
	watch = test_watch(test_path(f->file, path), IN_ATTRIB);
	ASSERT_LE(0, watch);
	ASSERT_EQ(0, write_as(ROOT, by_write, f->fd, 1));
	EXPECT_EQ(0U, test_events(watch));
	ASSERT_EQ(0, write_as(USER, by_write, f->fd, 1));
	ASSERT_OR_XFAIL(return, &f->env, test_mode(f->backing_fd) == 0755,
			"leaves mode %#o", test_mode(f->backing_fd));
	ASSERT_OR_XFAIL(return, &f->env, test_events(watch) == IN_ATTRIB,
			"changes the mode without an event");
	close(watch);
}

TEST_F(requests, are_sent_once_for_what_the_backing_file_has_lost)
{
	struct files *f = &self->f;
	int sent;

	ASSERT_TRUE(set_mode(f->fd, 0, 06755));
	ASSERT_EQ(0, fchmod(f->backing_fd, 0755));
	sent = requests_of(f, USER, 1);
	ASSERT_OR_XFAIL(return, &f->env, sent == 1,
			"sends %d requests for the first write", sent);
	sent = requests_of(f, USER, WRITES);
	ASSERT_OR_XFAIL(return, &f->env, !sent,
			"sends %d requests for the next %d writes", sent,
			WRITES);
}

TEST_F(requests, are_not_sent_for_capabilities)
{
	struct files *f = &self->f;
	int sent;

	NEEDS_CAPABILITY(return);
	ASSERT_EQ(0, set_capability(f->backing_fd));
	sent = requests_of(f, USER, 1);
	EXPECT_FALSE(has_capability(f->backing_fd));
	ASSERT_EQ(0, set_capability(f->backing_fd));
	sent += requests_of(f, ROOT, 1);
	EXPECT_FALSE(has_capability(f->backing_fd));
	ASSERT_OR_XFAIL(return, &f->env, !sent,
			"sends %d requests for 2 writes", sent);
}

static bool refuse_getattr(struct test_env *env, struct fuse_req *req)
{
	(void)env;
	if (req->in->opcode != FUSE_GETATTR)
		return false;
	fuse_reply_err(req, ENXIO);
	return true;
}

/* Rather than to leave them, if the server does not say which there are */
TEST_F(requests, that_fail_make_writes_fail)
{
	static int (* const writes[])(int fd) = {
		by_write, by_pwritev2, by_io_submit, by_splice,
	};
	struct files *f = &self->f;
	size_t i;
	int err;

	ASSERT_TRUE(set_mode(f->fd, 0, 06755));
	f->env.hook = refuse_getattr;
	for (i = 0; i < ARRAY_SIZE(writes); i++) {
		if (writes[i] == by_io_submit && !test_has_aio())
			continue;
		err = write_as(USER, writes[i], f->fd, 1);
		ASSERT_OR_XFAIL(return, &f->env, err == ENXIO,
				"says %s to a write whose privileges cannot be stripped",
				strerror(err));
	}
	EXPECT_EQ(06755, test_mode(f->backing_fd));
	EXPECT_FALSE(test_has(f->backing_fd, 0, text, sizeof(text)));
	f->env.hook = NULL;
	EXPECT_EQ(0, write_as(USER, by_write, f->fd, 1));
	EXPECT_EQ(0755, test_mode(f->backing_fd));
}

static bool hide_setuid(struct test_env *env, struct fuse_req *req)
{
	struct fuse_attr_out out = { .attr_valid = 3600 };

	if (req->in->opcode != FUSE_GETATTR ||
	    test_attr(&env->file[0], &out.attr))
		return false;
	out.attr.mode &= ~06000;
	fuse_reply(req, &out, sizeof(out));
	return true;
}

/* A server may have modes of its own, of which the backing file's are no part */
TEST_F(requests, do_not_strip_what_the_server_does_not_show)
{
	struct files *f = &self->f;
	int before, sent;

	f->env.hook = hide_setuid;
	ASSERT_EQ(0, fchmod(f->backing_fd, 06755));
	before = test_count(&f->env, FUSE_SETATTR);
	EXPECT_EQ(0, write_as(USER, by_write, f->fd, 1));
	EXPECT_TRUE(test_has(f->backing_fd, 0, text, sizeof(text)));
	EXPECT_EQ(before, test_count(&f->env, FUSE_SETATTR));
	EXPECT_EQ(06755, test_mode(f->backing_fd));

	/* That has been found out now, until there are others */
	sent = requests_of(f, USER, WRITES);
	ASSERT_OR_XFAIL(return, &f->env, !sent,
			"sends %d requests for %d writes", sent, WRITES);
	ASSERT_EQ(0, fchmod(f->backing_fd, 04755));
	f->env.hook = NULL;
	EXPECT_EQ(0, write_as(USER, by_write, f->fd, 1));
	EXPECT_EQ(0755, test_mode(f->backing_fd));
}

/* A server that has said so may show what it did not show before */
TEST_F(requests, strip_what_the_server_shows_after_all)
{
	struct files *f = &self->f;
	struct fuse_notify_inval_inode_out inval = {
		.ino = test_file_id(&f->env.file[0]), .off = -1,
	};

	f->env.hook = hide_setuid;
	ASSERT_EQ(0, fchmod(f->backing_fd, 06755));
	ASSERT_EQ(0, write_as(USER, by_write, f->fd, 2));
	ASSERT_EQ(06755, test_mode(f->backing_fd));
	f->env.hook = NULL;
	ASSERT_EQ(0, test_notify(&f->env, FUSE_NOTIFY_INVAL_INODE, &inval,
				 sizeof(inval), NULL, 0));
	EXPECT_EQ(0, write_as(USER, by_write, f->fd, 1));
	ASSERT_OR_XFAIL(return, &f->env, test_mode(f->backing_fd) == 0755,
			"leaves mode %o", test_mode(f->backing_fd));
}

static int read_a_byte(int fd)
{
	char c;

	return pread(fd, &c, 1, 0) == 1 ? 0 : errno;
}

TEST_F(requests, are_not_sent_for_reads)
{
	struct files *f = &self->f;
	int before;

	ASSERT_TRUE(set_mode(f->fd, 0, 06755));
	before = fuse_server_count_all(f->env.srv);
	ASSERT_EQ(0, write_as(USER, read_a_byte, f->fd, WRITES));
	EXPECT_EQ(before, (int)fuse_server_count_all(f->env.srv));
	EXPECT_EQ(06755, test_mode(f->backing_fd));
}

/*
 * Truncation goes to the server. If that has promised to strip privileges, it
 * is told when to (HANDLE_KILLPRIV_V2), or else goes by the user.
 */

FIXTURE(truncation)
{
	struct files f;
};

FIXTURE_VARIANT(truncation)
{
	uint32_t init_flags;
};

FIXTURE_VARIANT_ADD(truncation, plain)
{
	.init_flags = 0,
};

FIXTURE_VARIANT_ADD(truncation, killpriv)
{
	.init_flags = FUSE_HANDLE_KILLPRIV,
};

FIXTURE_VARIANT_ADD(truncation, killpriv_v2)
{
	.init_flags = FUSE_HANDLE_KILLPRIV_V2,
};

static bool server_strips(struct test_env *env, struct fuse_req *req)
{
	const struct fuse_setattr_in *in = req->arg;
	struct test_file *file = &env->file[0];
	uint64_t flags = env->config.init_flags;

	if (req->in->opcode != FUSE_SETATTR || !(in->valid & FATTR_SIZE))
		return false;
	if ((flags & FUSE_HANDLE_KILLPRIV && req->in->uid) ||
	    (flags & FUSE_HANDLE_KILLPRIV_V2 &&
	     in->valid & FATTR_KILL_SUIDGID))
		fchmod(file->fd, test_mode(file->fd) & 0777);
	/* The rest is done as ever */
	return false;
}

FIXTURE_SETUP(truncation)
{
	ASSERT_TRUE(files_setup(&self->f, variant->init_flags));
	TEST_NEEDS_PASSTHROUGH(&self->f.env);
	ASSERT_TRUE(negotiated(&self->f, variant->init_flags));
	ASSERT_TRUE(files_open(&self->f));
	self->f.env.hook = server_strips;
}

FIXTURE_TEARDOWN(truncation)
{
	files_close(&self->f);
}

static bool truncates_as_locally(struct files *f, enum who by)
{
	static const mode_t modes[] = { 0755, 04755, 02755, 06755 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		f->mode = modes[i];
		f->left = S_IFMT;
		if (!set_mode(f->local_fd, 0, modes[i]) ||
		    !set_mode(f->fd, 0, modes[i]) ||
		    !mode_is_as_locally(f, by, by_ftruncate, modes[i]))
			return false;
	}
	return true;
}

TEST_F(truncation, by_a_user_is_as_locally)
{
	struct files *f = &self->f;

	ASSERT_AS_LOCALLY(return, truncates_as_locally(f, USER));
}

TEST_F(truncation, by_root_is_as_locally)
{
	struct files *f = &self->f;

	ASSERT_AS_LOCALLY(return, truncates_as_locally(f, ROOT));
}

TEST_F(truncation, by_a_user_with_cap_fsetid_is_as_locally)
{
	struct files *f = &self->f;

	if (variant->init_flags & FUSE_HANDLE_KILLPRIV)
		SKIP(return, "HANDLE_KILLPRIV does not tell of capabilities");
	ASSERT_AS_LOCALLY(return, truncates_as_locally(f, USER_WITH_FSETID));
}

TEST_F(truncation, strips_capability_as_locally)
{
	struct files *f = &self->f;

	NEEDS_CAPABILITY(return);
	ASSERT_EQ(0, set_capability(f->backing_fd));
	ASSERT_EQ(0, write_as(USER, by_ftruncate, f->local_fd, 1));
	ASSERT_EQ(0, write_as(USER, by_ftruncate, f->fd, 1));
	EXPECT_EQ(has_capability(f->local_fd), has_capability(f->backing_fd));
}

/* Both sides agree after all that, and nothing is left for the next write */
TEST_F(truncation, and_a_write_strip_once)
{
	struct files *f = &self->f;

	ASSERT_TRUE(set_mode(f->fd, 0, 06755));
	ASSERT_EQ(0, write_as(USER, by_ftruncate, f->fd, 1));
	EXPECT_EQ(1, test_count(&f->env, FUSE_SETATTR) - 2);
	ASSERT_EQ(0, write_as(USER, by_write, f->fd, 1));
	EXPECT_EQ(1, test_count(&f->env, FUSE_SETATTR) - 2);
	EXPECT_EQ(0755, test_mode(f->backing_fd));
	EXPECT_EQ(0755, test_mode(f->fd));
}

TEST_HARNESS_MAIN
