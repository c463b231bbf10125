// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: the ABI's numbers, and when INIT enables it. Whether it is
 * enabled shows in BACKING_OPEN, which nobody else may use.
 */
#include "test_common.h"

#include <assert.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

static_assert(FUSE_PASSTHROUGH == 1ULL << 37, "bit of the init flag");
static_assert(FOPEN_PASSTHROUGH == 1 << 7, "bit of the open flag");
static_assert(sizeof(struct fuse_init_out) == 64, "fuse_init_out");
static_assert(offsetof(struct fuse_init_out, flags2) == 32, "flags2");
static_assert(offsetof(struct fuse_init_out, max_stack_depth) == 36,
	      "max_stack_depth");
static_assert(sizeof(struct fuse_open_out) == 16, "fuse_open_out");
static_assert(offsetof(struct fuse_open_out, backing_id) == 12, "backing_id");
static_assert(sizeof(struct fuse_backing_map) == 16, "fuse_backing_map");
static_assert(offsetof(struct fuse_backing_map, fd) == 0, "fd");
static_assert(offsetof(struct fuse_backing_map, flags) == 4, "flags");
static_assert(offsetof(struct fuse_backing_map, padding) == 8, "padding");

#define PASSTHROUGH_FLAGS2	((uint32_t)(FUSE_PASSTHROUGH >> 32))

TEST(the_ioctls_have_the_numbers_that_servers_know)
{
	EXPECT_EQ(0x4010e501u, FUSE_DEV_IOC_BACKING_OPEN);
	EXPECT_EQ(0x4004e502u, FUSE_DEV_IOC_BACKING_CLOSE);
}

TEST(ids_and_fds_are_signed_and_the_depth_is_not)
{
	struct fuse_backing_map map = { .fd = -1 };
	struct fuse_open_out open = { .backing_id = -1 };
	struct fuse_init_out init = { .max_stack_depth = -1 };

	EXPECT_GT(0, map.fd);
	EXPECT_GT(0, open.backing_id);
	EXPECT_LT(0, (int64_t)init.max_stack_depth);
}

FIXTURE(offer)
{
	struct test_env env;
};

FIXTURE_SETUP(offer)
{
	ASSERT_EQ(0, test_setup(&self->env));
	ASSERT_EQ(0, test_start(&self->env));
	TEST_NEEDS_PASSTHROUGH(&self->env);
}

FIXTURE_TEARDOWN(offer)
{
	test_teardown(&self->env);
}

TEST_F(offer, the_flag_comes_with_init_ext)
{
	const struct fuse_init_in *in = fuse_server_init_in(self->env.srv);

	EXPECT_NE(0u, in->flags & FUSE_INIT_EXT);
	EXPECT_NE(0u, in->flags2 & PASSTHROUGH_FLAGS2);
}

TEST_F(offer, the_minor_version_does_not_promise_more)
{
	const struct fuse_init_in *in = fuse_server_init_in(self->env.srv);

	EXPECT_EQ(7u, in->major);
	EXPECT_LE(38u, in->minor);
	/* Between 38 and mainline's first version with the feature */
	EXPECT_FALSE(in->minor == 39);
}

/* The last word on the reply */

static void reply_without_init_ext(struct fuse_server *srv,
				   const struct fuse_init_in *in,
				   struct fuse_init_out *out)
{
	out->flags &= ~FUSE_INIT_EXT;
	out->flags2 = PASSTHROUGH_FLAGS2;
	out->max_stack_depth = 1;
}

/* As a server of before 7.36, which leaves garbage in unused fields */
static void reply_with_garbage_at_the_end(struct fuse_server *srv,
					  const struct fuse_init_in *in,
					  struct fuse_init_out *out)
{
	out->flags &= ~FUSE_INIT_EXT;
	memset((char *)out + offsetof(struct fuse_init_out, flags2), 0xff,
	       sizeof(*out) - offsetof(struct fuse_init_out, flags2));
}

FIXTURE(negotiation)
{
	struct test_env env;
};

FIXTURE_VARIANT(negotiation)
{
	bool enabled;
	uint64_t flags;		/* beside those of every server */
	uint32_t depth;
	void (*reply)(struct fuse_server *srv, const struct fuse_init_in *in,
		      struct fuse_init_out *out);
};

FIXTURE_VARIANT_ADD(negotiation, depth_1)
{
	.enabled = true, .flags = FUSE_PASSTHROUGH, .depth = 1,
};

FIXTURE_VARIANT_ADD(negotiation, depth_2)
{
	.enabled = true, .flags = FUSE_PASSTHROUGH, .depth = 2,
};

FIXTURE_VARIANT_ADD(negotiation, depth_0)
{
	.flags = FUSE_PASSTHROUGH, .depth = 0,
};

FIXTURE_VARIANT_ADD(negotiation, depth_3)
{
	.flags = FUSE_PASSTHROUGH, .depth = 3,
};

FIXTURE_VARIANT_ADD(negotiation, depth_int_max)
{
	.flags = FUSE_PASSTHROUGH, .depth = INT_MAX,
};

FIXTURE_VARIANT_ADD(negotiation, depth_uint_max)
{
	.flags = FUSE_PASSTHROUGH, .depth = UINT_MAX,
};

FIXTURE_VARIANT_ADD(negotiation, no_flag)
{
	.depth = 1,
};

FIXTURE_VARIANT_ADD(negotiation, no_init_ext)
{
	.flags = FUSE_PASSTHROUGH, .depth = 1, .reply = reply_without_init_ext,
};

FIXTURE_VARIANT_ADD(negotiation, garbage_without_init_ext)
{
	.reply = reply_with_garbage_at_the_end,
};

FIXTURE_VARIANT_ADD(negotiation, writeback_cache)
{
	.flags = FUSE_PASSTHROUGH | FUSE_WRITEBACK_CACHE, .depth = 1,
};

FIXTURE_VARIANT_ADD(negotiation, writeback_cache_only)
{
	.flags = FUSE_WRITEBACK_CACHE,
};

FIXTURE_SETUP(negotiation)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	ASSERT_TRUE(!!test_add_file(env, "file", "data", 4));
	env->config.init_flags &= ~FUSE_PASSTHROUGH;
	env->config.init_flags |= variant->flags;
	env->config.max_stack_depth = variant->depth;
	env->config.init_reply = variant->reply;
	ASSERT_EQ(0, test_start(env));
	TEST_NEEDS_PASSTHROUGH(env);
}

FIXTURE_TEARDOWN(negotiation)
{
	test_teardown(&self->env);
}

TEST_F(negotiation, enables_passthrough_only_if_the_reply_is_good)
{
	int dev = fuse_server_dev(self->env.srv);
	/* Not on a stacked file system, wherever the tests are run */
	int fd = memfd_create("file", MFD_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(variant->enabled ? 0 : EPERM, test_backing_open(dev, fd));
}

TEST_F(negotiation, leaves_a_file_system_that_works)
{
	struct test_file *file = &self->env.file[0];
	char path[PATH_MAX];
	struct statfs st;
	struct stat attr;
	char buf[4];
	int fd;

	EXPECT_EQ(0, statfs(self->env.mnt, &st));
	EXPECT_EQ(0, stat(test_path(file, path), &attr));
	EXPECT_EQ(4, attr.st_size);

	fd = test_open(file, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, read(fd, buf, 4));
	EXPECT_EQ(0, memcmp(buf, "data", 4));
	EXPECT_EQ(1, pwrite(fd, "D", 1, 0));
	EXPECT_EQ(0, close(fd));
}

/*
 * An overlay is one level above its layers, and 2 levels are all there are: the
 * superblock's depth shows in how many overlays fit.
 */
static int overlay_on_the_mount(struct test_env *env)
{
	char options[PATH_MAX], path[PATH_MAX];

	test_pathf(options, "lowerdir=%s:%s", env->mnt, env->backing);
	return test_mount(env, "overlay", "overlay", options, path) ? errno : 0;
}

TEST_F(negotiation, sets_the_stacking_depth_of_the_superblock)
{
	bool full = variant->enabled && variant->depth == 2;
	int err = overlay_on_the_mount(&self->env);

	if (err == ENODEV)
		SKIP(return, "no overlayfs");
	EXPECT_EQ(full ? EINVAL : 0, err);
}

TEST_F(negotiation, makes_files_of_the_mount_unusable_as_backing_files)
{
	int dev = fuse_server_dev(self->env.srv);
	int fd = test_open(&self->env.file[0], O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(variant->enabled ? ELOOP : EPERM, test_backing_open(dev, fd));
	close(fd);
}

TEST(depth_2_takes_backing_files_on_overlayfs)
{
	char overlay[PATH_MAX], path[PATH_MAX];
	struct test_env env;
	int fd, err;

	ASSERT_EQ(0, test_setup(&env));
	env.config.max_stack_depth = 2;
	ASSERT_EQ(0, test_start(&env));
	TEST_NEEDS_PASSTHROUGH(&env);
	if (test_mount_overlay(&env, overlay)) {
		err = errno;
		test_teardown(&env);
		SKIP(return, "no overlayfs: %s", strerror(err));
	}
	fd = open(test_pathf(path, "%s/file", overlay), O_RDONLY | O_CLOEXEC);
	err = test_backing_open(fuse_server_dev(env.srv), fd);
	close(fd);
	test_teardown(&env);
	EXPECT_EQ(0, err);
}

TEST_HARNESS_MAIN
