// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: a kernel that was built without it says so, and is the
 * kernel that it was.
 */
#include "test_common.h"

#include <string.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

FIXTURE(without)
{
	struct test_env env;
	struct test_file *file;
	int dev;
};

FIXTURE_SETUP(without)
{
	struct test_env *env = &self->env;

	ASSERT_EQ(0, test_setup(env));
	self->file = test_add_file(env, "file", "data", 4);
	ASSERT_TRUE(!!self->file);
	ASSERT_EQ(0, test_start(env));
	if (test_passthrough_offered(env))
		SKIP(_exit(255), "kernel has CONFIG_FUSE_PASSTHROUGH");
	self->dev = fuse_server_dev(env->srv);
	/* That is what a kernel without the series answers */
	if (!getenv("FUSE_TEST_WITHOUT_FEATURE") &&
	    test_backing_close(self->dev, 1) == ENOTTY)
		SKIP(_exit(255), "kernel does not know the ioctls");
}

FIXTURE_TEARDOWN(without)
{
	test_teardown(&self->env);
}

TEST_F(without, the_ioctls_are_not_supported)
{
	struct fuse_backing_map bad = { .fd = -1, .flags = ~0, .padding = ~0 };
	int unattached = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, unattached);
	EXPECT_EQ(EOPNOTSUPP, test_backing_open(self->dev, self->file->fd));
	EXPECT_EQ(EOPNOTSUPP, test_backing_close(self->dev, 1));

	/* That comes after the check of the device, and before all others. */
	EXPECT_EQ(EPERM, test_backing_open(unattached, self->file->fd));
	EXPECT_EQ(EPERM, test_backing_close(unattached, 1));
	EXPECT_EQ(EOPNOTSUPP, test_backing_ioctl(self->dev, NULL, NULL));
	EXPECT_EQ(EOPNOTSUPP, test_backing_ioctl(self->dev, &bad, NULL));
	EXPECT_EQ(EOPNOTSUPP, test_backing_close(self->dev, -1));
	close(unattached);
}

TEST_F(without, the_open_flag_is_unknown)
{
	char buf[4];
	int fd;

	self->file->open_flags = FOPEN_PASSTHROUGH;
	self->file->backing_id = 1;
	fd = test_open(self->file, O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, read(fd, buf, 4));
	EXPECT_EQ(0, memcmp(buf, "data", 4));
	EXPECT_EQ(1, test_count(&self->env, FUSE_READ));
	close(fd);
}

TEST_HARNESS_MAIN
