// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: calls that race with each other, thousands of times.
 *
 * Each test ends when so many rounds are done, or after so many seconds: see
 * test_rounds_begin(). How far it came is printed.
 */
#include "test_common.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE		4096
#define SIZE		(2 * PAGE)	/* of a file, at first */
#define MAX_RACERS	6
#define USUAL_SECONDS	2.5

/* Nothing else gets so high a number */
#define SHARED_FD	900

enum { FILE_A, FILE_B, FILES };

struct race {
	struct test_env env;
	struct test_rounds rounds;
	struct test_file *file[FILES];
	int id[FILES];
	int dev;
	int clone[2];		/* device fds of the same connection */
	char pinned[PATH_MAX];	/* a mount that the files keep busy */
	int sock[2];		/* where files are passed on */
	int fd;			/* of an open that all racers share */
	int direct;		/* O_DIRECT, if the file system has it */
};

/* One thread. Its step is done again and again. */
struct racer {
	struct race *race;
	pthread_t thread;
	const char *(*step)(struct racer *r);	/* what went wrong, or NULL */
	int nr;
	unsigned int seed;
	char *buf;		/* two pages, aligned for O_DIRECT */

	const char *wrong;
	int err;		/* errno then */
	long good;
	long refused;		/* as it may be */
};

static void *run_racer(void *arg)
{
	struct racer *r = arg;
	struct test_rounds *rounds = &r->race->rounds;

	/* The first one's are the rounds; the others keep it company */
	while (!r->wrong && (r->nr ? test_rounds_go_on(rounds) :
				     test_rounds_next(rounds)))
		r->wrong = r->step(r);
	r->err = errno;
	if (r->wrong || !r->nr)
		test_rounds_stop(rounds);
	return NULL;
}

/* Returns false, and says why, if a racer has found something wrong. */
static bool report(struct race *race, struct racer *racer, int n)
{
	bool good = true;
	int i;

	printf("# %ld rounds in %.1f s:", race->rounds.done,
	       test_rounds_seconds(&race->rounds));
	for (i = 0; i < n; i++)
		printf(" %ld+%ld", racer[i].good, racer[i].refused);
	printf(" (good + refused)\n");

	for (i = 0; i < n; i++) {
		if (!racer[i].wrong)
			continue;
		printf("# racer %d: %s: %s\n", i, racer[i].wrong,
		       strerror(racer[i].err));
		good = false;
	}
	fflush(stdout);
	return good;
}

/* Runs the racers of a list that ends with NULL, to their end. */
static bool run(struct race *race, const char *(*const steps[])(struct racer *r))
{
	struct racer racer[MAX_RACERS] = {};
	void *buf;
	int i, n;
	bool good;

	for (n = 0; n < MAX_RACERS && steps[n]; n++) {
		if (posix_memalign(&buf, PAGE, SIZE))
			break;
		racer[n] = (struct racer) {
			.race = race, .step = steps[n], .nr = n, .seed = n + 1,
			.buf = buf,
		};
		if (pthread_create(&racer[n].thread, NULL, run_racer,
				   &racer[n]))
			break;
	}
	if (n < MAX_RACERS && steps[n])
		test_rounds_stop(&race->rounds);
	for (i = 0; i < n; i++) {
		pthread_join(racer[i].thread, NULL);
		free(racer[i].buf);
	}
	good = report(race, racer, n);
	return good && (n == MAX_RACERS || !steps[n]);
}

/* The files: each has one letter all over, so that it is known by any of them */

static char letter(int file)
{
	return 'a' + file;
}

static struct test_file *add_file(struct race *race, int nr)
{
	char data[SIZE], path[PATH_MAX];

	memset(data, letter(nr), SIZE);
	test_pathf(path, "%s/%c", race->pinned, letter(nr));
	if (test_write_file(path, data, SIZE))
		return NULL;
	return test_add_path(&race->env, nr ? "b" : "a", path, O_RDWR);
}

static bool has_direct(struct race *race)
{
	char path[PATH_MAX];
	int fd = open(test_pathf(path, "%s/a", race->pinned), O_RDWR | O_DIRECT);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool setup(struct race *race)
{
	struct test_env *env = &race->env;

	race->fd = -1;
	race->clone[0] = -1;
	race->clone[1] = -1;
	if (test_setup(env))
		return false;
	test_rounds_begin(&race->rounds, env, USUAL_SECONDS);
	env->config.threads = 3;
	return !test_bind_backing(env, race->pinned) && !test_start(env);
}

static bool back_files(struct race *race)
{
	int i;

	race->dev = fuse_server_dev(race->env.srv);
	for (i = 0; i < FILES; i++) {
		race->file[i] = add_file(race, i);
		if (!race->file[i])
			return false;
		race->id[i] = test_back(race->file[i]);
		if (race->id[i] < 0)
			return false;
	}
	if (has_direct(race))
		race->direct = O_DIRECT;
	return true;
}

static void teardown(struct race *race)
{
	if (race->fd >= 0)
		close(race->fd);
	test_teardown(&race->env);
	umount2(race->pinned, MNT_DETACH);
}

/* The end of the server, after which nothing may use the files any more */
static bool files_are_free(struct race *race)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (race->clone[i] >= 0)
			close(race->clone[i]);
		race->clone[i] = -1;
	}
	fuse_server_stop(race->env.srv);
	race->env.srv = NULL;
	test_close_backing(&race->env);
	return !test_umount(race->pinned);
}

/* Reads a file that has one letter. 0: something else came */
static char read_letter(int fd, char *buf)
{
	if (pread(fd, buf, SIZE, 0) != SIZE || !test_uniform(buf, SIZE))
		return 0;
	return buf[0];
}

FIXTURE(race)
{
	struct race race;
};

FIXTURE_SETUP(race)
{
	ASSERT_TRUE(setup(&self->race));
	TEST_NEEDS_PASSTHROUGH(&self->race.env);
	ASSERT_TRUE(back_files(&self->race));
}

FIXTURE_TEARDOWN(race)
{
	teardown(&self->race);
}

/* An open that nothing races with uses the file with this letter */
static bool file_is_used(struct race *race, int nr)
{
	int reads = test_count(&race->env, FUSE_READ);
	int fd = test_open(race->file[FILE_A], O_RDWR);
	char buf[SIZE];
	bool used;

	if (fd < 0)
		return false;
	used = read_letter(fd, buf) == letter(nr);
	close(fd);
	return used && test_count(&race->env, FUSE_READ) == reads;
}

/* Ids end while the replies that name them are followed, by any device fd. */

static const char *open_and_read(struct racer *r)
{
	int fd = test_open(r->race->file[FILE_A], O_RDWR);
	char c;

	if (fd < 0) {
		r->refused++;
		return errno == EIO ? NULL : "an open fails, but not by EIO";
	}
	c = read_letter(fd, r->buf);
	if (close(fd))
		return "close";
	r->good++;
	return c == letter(FILE_A) ? NULL : "wrong data";
}

/* Gives the file a new id, and returns the old one. */
static int exchange_id(struct test_file *file, int id)
{
	return __atomic_exchange_n(&file->backing_id, id, __ATOMIC_SEQ_CST);
}

static const char *change_id(struct racer *r)
{
	struct test_file *file = r->race->file[FILE_A];
	int id = fuse_backing_open(r->race->clone[0], file->fd);

	if (id <= 0)
		return "BACKING_OPEN by a cloned device";
	if (fuse_backing_close(r->race->clone[1], exchange_id(file, id)))
		return "BACKING_CLOSE by another cloned device";
	r->good++;
	return NULL;
}

/* The device that an id was made by is closed, but not the id. */
static const char *change_id_by_short_lived_clone(struct racer *r)
{
	struct test_file *file = r->race->file[FILE_A];
	int dev = fuse_dev_clone(r->race->dev);
	int id, old;

	if (dev < 0)
		return "FUSE_DEV_IOC_CLONE";
	id = fuse_backing_open(dev, file->fd);
	if (id <= 0)
		return "BACKING_OPEN by a device that does not live long";
	old = exchange_id(file, id);
	if (close(dev))
		return "close of a cloned device";
	if (fuse_backing_close(r->race->dev, old))
		return "BACKING_CLOSE by the first device";
	r->good++;
	return NULL;
}

TEST_F_TIMEOUT(race, of_opens_with_ids_of_cloned_devices, TEST_RACE_TIMEOUT)
{
	static const char *(*const steps[])(struct racer *r) = {
		open_and_read, open_and_read, change_id,
		change_id_by_short_lived_clone, NULL,
	};
	struct race *race = &self->race;
	int i;

	for (i = 0; i < 2; i++) {
		race->clone[i] = fuse_dev_clone(race->dev);
		ASSERT_LE(0, race->clone[i]);
	}
	EXPECT_TRUE(run(race, steps));
	EXPECT_TRUE(test_all_released(race->file[FILE_A]));
	EXPECT_TRUE(file_is_used(race, FILE_A));
	EXPECT_EQ(0, test_count(&race->env, FUSE_READ));
	EXPECT_TRUE(files_are_free(race));
}

/* Opens ask for another mode than what was open a moment ago, or still is. */

static void set_reply(struct test_file *file, uint32_t open_flags, int id)
{
	__atomic_store_n(&file->backing_id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&file->open_flags, open_flags, __ATOMIC_RELAXED);
}

#define REPLIES	6

static void set_reply_nr(struct race *race, int nr)
{
	const struct {
		uint32_t open_flags;
		int id;
	} reply[REPLIES] = {
		{ 0, 0 },
		{ FOPEN_KEEP_CACHE, 0 },
		{ FOPEN_DIRECT_IO, 0 },
		{ FOPEN_PASSTHROUGH, race->id[FILE_A] },
		{ FOPEN_PASSTHROUGH, race->id[FILE_B] },
		{ FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO, race->id[FILE_A] },
	};

	set_reply(race->file[FILE_A], reply[nr].open_flags, reply[nr].id);
}

/*
 * What is mapped is all of one file, though not of the one that is read. The
 * file is closed first: a mapping outlives it, and its mode, too.
 */
static const char *map_close_and_look(int fd, int flags)
{
	const char *wrong = NULL;
	char *map;
	int err;

	map = mmap(NULL, SIZE, PROT_READ, flags, fd, 0);
	err = errno;
	if (close(fd))
		return "close of a mapped file";
	if (map == MAP_FAILED)
		return err == ENODEV ? NULL : "mmap";
	if (!test_uniform(map, SIZE))
		wrong = "a mapping is of two files";
	munmap(map, SIZE);
	return wrong;
}

/* As long as a file is open, it is the same one. */
static const char *use_in_its_mode(struct racer *r, int fd)
{
	char c = read_letter(fd, r->buf);

	if (!c)
		return "data of two files";
	if (pwrite(fd, r->buf, PAGE, PAGE) != PAGE)
		return "pwrite";
	if (read_letter(fd, r->buf) != c)
		return "an open file became another one";
	return NULL;
}

static const char *open_in_some_mode(struct racer *r)
{
	const char *wrong;
	int fd;

	set_reply_nr(r->race, rand_r(&r->seed) % REPLIES);
	fd = test_open(r->race->file[FILE_A], O_RDWR);
	if (fd < 0) {
		r->refused++;
		return errno == EIO ? NULL : "an open fails, but not by EIO";
	}
	wrong = use_in_its_mode(r, fd);
	r->good++;
	if (!wrong && rand_r(&r->seed) % 4 == 0)
		return map_close_and_look(fd, rand_r(&r->seed) % 2 ?
					      MAP_SHARED : MAP_PRIVATE);
	return close(fd) ? "close" : wrong;
}

TEST_F_TIMEOUT(race, of_opens_in_several_modes, TEST_RACE_TIMEOUT)
{
	static const char *(*const steps[])(struct racer *r) = {
		open_in_some_mode, open_in_some_mode, open_in_some_mode, NULL,
	};
	struct race *race = &self->race;
	char buf[SIZE];
	int i, fd;

	EXPECT_TRUE(run(race, steps));
	EXPECT_TRUE(test_all_released(race->file[FILE_A]));

	/* No mode is left over */
	for (i = 0; i < REPLIES; i++) {
		set_reply_nr(race, i);
		fd = test_open(race->file[FILE_A], O_RDWR);
		ASSERT_LE(0, fd);
		EXPECT_EQ(letter(race->file[FILE_A]->backing_id ==
				 race->id[FILE_B] ? FILE_B : FILE_A),
			  read_letter(fd, buf));
		EXPECT_EQ(0, close(fd));
	}
	EXPECT_TRUE(files_are_free(race));
}

/* A mapping keeps the mode; unmapping it races with an open in another one. */

static const char *map_and_unmap(struct racer *r)
{
	int nr = rand_r(&r->seed) % FILES;
	const char *wrong;
	int fd;

	set_reply(r->race->file[FILE_A], FOPEN_PASSTHROUGH, r->race->id[nr]);
	fd = test_open(r->race->file[FILE_A], O_RDONLY);
	if (fd < 0) {
		r->refused++;
		return errno == EIO ? NULL : "an open fails, but not by EIO";
	}
	wrong = map_close_and_look(fd, MAP_SHARED);
	r->good++;
	return wrong;
}

TEST_F_TIMEOUT(race, of_unmapping_with_opens, TEST_RACE_TIMEOUT)
{
	static const char *(*const steps[])(struct racer *r) = {
		map_and_unmap, map_and_unmap, map_and_unmap, NULL,
	};
	struct race *race = &self->race;

	EXPECT_TRUE(run(race, steps));
	EXPECT_TRUE(test_all_released(race->file[FILE_A]));
	set_reply(race->file[FILE_A], FOPEN_PASSTHROUGH, race->id[FILE_B]);
	EXPECT_TRUE(file_is_used(race, FILE_B));
	EXPECT_EQ(0, test_count(&race->env, FUSE_READ));
	EXPECT_TRUE(files_are_free(race));
}

/* Open files go to other processes, by fork() and in sockets. */

static int send_fds(int sock, const int *fds, int n)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = {};
	struct iovec iov = { "x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	return sendmsg(sock, &msg, MSG_DONTWAIT) == 1 ? 0 : -1;
}

/* -1 with EAGAIN if nothing is there */
static int receive_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS) {
		errno = EBADMSG;
		return -1;
	}
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static const char *send_file(struct racer *r)
{
	int fd = test_open(r->race->file[FILE_A], O_RDWR);

	if (fd < 0)
		return "open";
	if (!send_fds(r->race->sock[0], &fd, 1))
		r->good++;
	else if (errno == EAGAIN || errno == ENOBUFS)
		r->refused++;
	else
		return "sendmsg";
	return close(fd) ? "close" : NULL;
}

static const char *receive_file(struct racer *r)
{
	int fd = receive_fd(r->race->sock[1]);
	char c;

	if (fd < 0) {
		r->refused++;
		if (errno == EAGAIN)
			usleep(200);
		return errno == EAGAIN ? NULL : "recvmsg";
	}
	c = read_letter(fd, r->buf);
	if (close(fd))
		return "close";
	r->good++;
	return c == letter(FILE_A) ? NULL : "wrong data from a socket";
}

/* Every other time the socket is in itself, so that only a collector frees it. */
static const char *leave_in_socket(struct racer *r)
{
	int sock[2], fds[2], err;

	fds[0] = test_open(r->race->file[FILE_A], O_RDWR);
	if (fds[0] < 0 ||
	    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sock))
		return "open or socketpair";
	fds[1] = sock[1];
	err = send_fds(sock[0], fds, 1 + r->good++ % 2);
	close(fds[0]);
	close(sock[0]);
	close(sock[1]);
	return err ? "sendmsg" : NULL;
}

static const char *leave_to_child(struct racer *r)
{
	int fd = test_open(r->race->file[FILE_A], O_RDWR);
	int status;
	pid_t pid;

	if (fd < 0)
		return "open";
	pid = fork();
	if (pid < 0)
		return "fork";
	if (!pid)
		_exit(read_letter(fd, r->buf) != letter(FILE_A));
	if (close(fd))
		return "close";
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return "waitpid";
	r->good++;
	return status ? "wrong data in a child" : NULL;
}

TEST_F_TIMEOUT(race, of_files_that_are_passed_on, TEST_RACE_TIMEOUT)
{
	static const char *(*const steps[])(struct racer *r) = {
		send_file, receive_file, leave_in_socket, leave_to_child, NULL,
	};
	struct race *race = &self->race;
	int fd;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0,
				race->sock));
	EXPECT_TRUE(run(race, steps));
	close(race->sock[0]);
	close(race->sock[1]);
	/* The closing of a socket is what starts the collector. */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ASSERT_LE(0, fd);
	close(fd);

	EXPECT_TRUE(test_all_released(race->file[FILE_A]));
	EXPECT_EQ(0, test_count(&race->env, FUSE_READ));
	EXPECT_TRUE(files_are_free(race));
}

/* A number stands for one open file, then for another one, then for none. */

static const char *replace_fd(struct racer *r)
{
	int nr = rand_r(&r->seed) % FILES;
	int fd = test_open(r->race->file[nr], O_RDWR);

	if (fd < 0)
		return "open";
	if (dup3(fd, SHARED_FD, O_CLOEXEC) < 0)
		return "dup3";
	if (close(fd))
		return "close";
	if (rand_r(&r->seed) % 4 == 0)
		close(SHARED_FD);
	r->good++;
	return NULL;
}

static const char *use_fd(struct racer *r, char c)
{
	if (c || errno == EBADF) {
		c ? r->good++ : r->refused++;
		return NULL;
	}
	return "data of two files";
}

static const char *read_fd(struct racer *r)
{
	errno = 0;
	return use_fd(r, read_letter(SHARED_FD, r->buf));
}

static const char *map_fd(struct racer *r)
{
	const char *wrong = NULL;
	char *map;

	map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, SHARED_FD, 0);
	if (map == MAP_FAILED)
		return use_fd(r, 0);
	if (!test_uniform(map, SIZE))
		wrong = "a mapping of two files";
	munmap(map, SIZE);
	r->good++;
	return wrong;
}

TEST_F_TIMEOUT(race, of_close_and_dup_with_reads, TEST_RACE_TIMEOUT)
{
	static const char *(*const steps[])(struct racer *r) = {
		replace_fd, read_fd, read_fd, map_fd, NULL,
	};
	struct race *race = &self->race;
	int i;

	EXPECT_TRUE(run(race, steps));
	close(SHARED_FD);
	for (i = 0; i < FILES; i++)
		EXPECT_TRUE(test_all_released(race->file[i]));
	EXPECT_EQ(0, test_count(&race->env, FUSE_READ));
	EXPECT_TRUE(files_are_free(race));
}

/*
 * Flags change while others read and write by the same open file. Every write is
 * of a whole page, with O_APPEND or without, and so every page is of one letter.
 */

#define MAX_PAGES	64

static int page_aligned_offset(struct racer *r)
{
	/* Two racers do not write to the same page, whose letters could mix */
	return PAGE * (2 * (rand_r(&r->seed) % 4) + r->nr % 2);
}

static const char *write_page(struct racer *r)
{
	memset(r->buf, 'A' + rand_r(&r->seed) % 26, PAGE);
	if (pwrite(r->race->fd, r->buf, PAGE, page_aligned_offset(r)) != PAGE)
		return "pwrite";
	r->good++;
	return NULL;
}

static const char *write_page_by_aio(struct racer *r)
{
	ssize_t n;

	memset(r->buf, 'A' + rand_r(&r->seed) % 26, PAGE);
	n = do_write(AIO, r->race->fd, r->buf, PAGE, page_aligned_offset(r));
	if (n != PAGE) {
		errno = n < 0 ? -n : 0;
		return "io_submit";
	}
	r->good++;
	return NULL;
}

static const char *read_page(struct racer *r)
{
	/* What is there changes, and where the end is */
	if (pread(r->race->fd, r->buf, PAGE, PAGE * (rand_r(&r->seed) % 8)) < 0)
		return "pread";
	r->good++;
	return NULL;
}

static const char *splice_page(struct racer *r)
{
	ssize_t n = do_write(SPLICE, r->race->fd, r->buf, PAGE, 0);

	/* Only pages of the racer's own, and not with O_APPEND */
	if (n == PAGE || n == -EINVAL) {
		n == PAGE ? r->good++ : r->refused++;
		return NULL;
	}
	errno = n < 0 ? -n : 0;
	return "splice";
}

static const char *change_flags(struct racer *r)
{
	static const int flags[] = { O_APPEND, O_NOATIME, O_NONBLOCK };
	int set = 0;
	struct stat st;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (rand_r(&r->seed) % 2)
			set |= flags[i];
	if (rand_r(&r->seed) % 2)
		set |= r->race->direct;
	if (fcntl(r->race->fd, F_SETFL, set))
		return "F_SETFL";
	r->good++;
	if (fstat(r->race->fd, &st))
		return "fstat";
	if (st.st_size > MAX_PAGES * PAGE &&
	    ftruncate(r->race->fd, 8 * PAGE))
		return "ftruncate";
	return NULL;
}

static bool pages_are_uniform(int fd)
{
	char page[PAGE];
	struct stat st;
	off_t off;

	if (fstat(fd, &st) || st.st_size % PAGE)
		return false;
	for (off = 0; off < st.st_size; off += PAGE)
		if (pread(fd, page, PAGE, off) != PAGE ||
		    !test_uniform(page, PAGE))
			return false;
	return true;
}

TEST_F_TIMEOUT(race, of_f_setfl_with_io, TEST_RACE_TIMEOUT)
{
	static const char *(*const with_aio[])(struct racer *r) = {
		write_page, write_page_by_aio, read_page, splice_page,
		change_flags, NULL,
	};
	static const char *(*const without_aio[])(struct racer *r) = {
		write_page, write_page, read_page, splice_page, change_flags,
		NULL,
	};
	struct race *race = &self->race;

	race->fd = test_open(race->file[FILE_A], O_RDWR);
	ASSERT_LE(0, race->fd);
	EXPECT_TRUE(run(race, test_has_aio() ? with_aio : without_aio));
	EXPECT_TRUE(pages_are_uniform(race->file[FILE_A]->fd));
	EXPECT_EQ(0, test_count(&race->env, FUSE_READ));
	EXPECT_EQ(0, test_count(&race->env, FUSE_WRITE));
	EXPECT_EQ(0, close(race->fd));
	race->fd = -1;
	EXPECT_TRUE(files_are_free(race));
}

/*
 * Truncation races with writes, and when both are done the size that FUSE knows
 * without asking is that of the backing file. A round is a few of each.
 */

FIXTURE(size)
{
	struct race race;
};

FIXTURE_VARIANT(size)
{
	enum way way;
	bool direct;
};

FIXTURE_VARIANT_ADD(size, after_writes)
{
	.way = VECTORED,
};

FIXTURE_VARIANT_ADD(size, after_direct_aio)
{
	.way = AIO,
	.direct = true,
};

FIXTURE_VARIANT_ADD(size, after_splices)
{
	.way = SPLICE,
};

FIXTURE_SETUP(size)
{
	struct race *race = &self->race;

	if (variant->way == AIO && !test_has_aio())
		SKIP(_exit(255), "no io_submit: enable CONFIG_AIO");
	ASSERT_TRUE(setup(race));
	TEST_NEEDS_PASSTHROUGH(&race->env);
	ASSERT_TRUE(back_files(race));
	if (variant->direct && !race->direct)
		SKIP(_exit(255), "no O_DIRECT on the backing file system");
	race->fd = test_open(race->file[FILE_A],
			     O_RDWR | (variant->direct ? O_DIRECT : 0));
	ASSERT_LE(0, race->fd);
}

FIXTURE_TEARDOWN(size)
{
	teardown(&self->race);
}

#define SIZE_OPS	4
#define SIZE_WRITERS	2
#define SIZE_THREADS	(SIZE_WRITERS + 2)

/* Threads that begin each round together */
struct size_racer {
	struct race *race;
	pthread_t thread;
	pthread_barrier_t *barrier;
	enum way way;
	int nr;
	bool *end;
	char *buf;
	unsigned int seed;
	int err;
};

static int write_somewhere(struct size_racer *r)
{
	off_t off = (off_t)PAGE * (rand_r(&r->seed) % 16);
	ssize_t n = do_write(r->way, r->race->fd, r->buf, PAGE, off);

	if (n == PAGE)
		return 0;
	return n < 0 ? -n : EIO;
}

static int size_op(struct size_racer *r)
{
	struct stat st;

	if (r->nr < SIZE_WRITERS)
		return write_somewhere(r);
	if (r->nr == SIZE_WRITERS)
		return ftruncate(r->race->fd, (off_t)PAGE / 2 *
				 (rand_r(&r->seed) % 24)) ? errno : 0;
	return fstat(r->race->fd, &st) ? errno : 0;
}

static void *run_size_racer(void *arg)
{
	struct size_racer *r = arg;
	int i;

	for (;;) {
		pthread_barrier_wait(r->barrier);
		if (*r->end)
			return NULL;
		for (i = 0; i < SIZE_OPS && !r->err; i++)
			r->err = size_op(r);
		pthread_barrier_wait(r->barrier);
	}
}

static bool size_is_right(struct race *race)
{
	struct stat backing, st;
	off_t known = test_known_size(race->fd);
	off_t end = lseek(race->fd, 0, SEEK_END);

	if (fstat(race->file[FILE_A]->fd, &backing) || fstat(race->fd, &st))
		return false;
	if (known == backing.st_size && end == backing.st_size &&
	    st.st_size == backing.st_size)
		return true;
	printf("# size: known %lld, SEEK_END %lld, fstat %lld, backing file %lld\n",
	       (long long)known, (long long)end, (long long)st.st_size,
	       (long long)backing.st_size);
	return false;
}

static bool no_errors(const struct size_racer *r)
{
	int i;

	for (i = 0; i < SIZE_THREADS; i++) {
		if (!r[i].err)
			continue;
		printf("# racer %d: %s\n", i, strerror(r[i].err));
		return false;
	}
	return true;
}

TEST_F_TIMEOUT(size, is_right_after_races_with_truncation, TEST_RACE_TIMEOUT)
{
	struct race *race = &self->race;
	struct size_racer r[SIZE_THREADS];
	pthread_barrier_t barrier;
	bool end = false, good = true;
	int i;

	pthread_barrier_init(&barrier, NULL, SIZE_THREADS + 1);
	for (i = 0; i < SIZE_THREADS; i++) {
		void *buf;

		ASSERT_EQ(0, posix_memalign(&buf, PAGE, PAGE));
		test_pattern(buf, PAGE, i);
		r[i] = (struct size_racer) {
			.race = race, .barrier = &barrier, .nr = i,
			.way = variant->way, .end = &end, .buf = buf,
			.seed = i + 1,
		};
		ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, run_size_racer,
					    &r[i]));
	}
	while (good && test_rounds_next(&race->rounds)) {
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		good = no_errors(r) && size_is_right(race);
	}
	end = true;
	pthread_barrier_wait(&barrier);
	for (i = 0; i < SIZE_THREADS; i++) {
		pthread_join(r[i].thread, NULL);
		free(r[i].buf);
	}
	TH_LOG("%ld rounds in %.1f s", race->rounds.done,
	       test_rounds_seconds(&race->rounds));
	EXPECT_TRUE(good);
	EXPECT_EQ(0, test_count(&race->env, FUSE_WRITE));
	EXPECT_EQ(0, close(race->fd));
	race->fd = -1;
	EXPECT_TRUE(files_are_free(race));
}

/* The begin and the end of a connection. Each round has a mount of its own. */

FIXTURE(connection)
{
	struct race race;
	int fd;
};

FIXTURE_SETUP(connection)
{
	struct race *race = &self->race;
	char path[PATH_MAX];

	ASSERT_TRUE(setup(race));
	TEST_NEEDS_PASSTHROUGH(&race->env);
	test_pathf(path, "%s/file", race->pinned);
	ASSERT_EQ(0, test_write_file(path, "data", 4));
	self->fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(connection)
{
	teardown(&self->race);
}

/* A thread that calls the ioctls until it is told to stop */
struct caller {
	pthread_t thread;
	int dev;
	int fd;
	bool *stop;
	bool until_good;	/* or until the first id */
	long good;
	long refused;
	int err;		/* that must not be */
};

static bool may_be(int err, bool before_init)
{
	return before_init ? err == EPERM : err == ENOTCONN || err == ENOENT;
}

static void *call_ioctls(void *arg)
{
	struct caller *c = arg;

	while (!c->err && !__atomic_load_n(c->stop, __ATOMIC_RELAXED)) {
		int id = fuse_backing_open(c->dev, c->fd);

		if (id <= 0) {
			c->refused++;
			if (!may_be(errno, c->until_good))
				c->err = errno ? errno : EINVAL;
			if (!c->until_good)
				break;
			continue;
		}
		c->good++;
		/* Some are left to the end of the connection */
		if (c->good % 4 && fuse_backing_close(c->dev, id) &&
		    !may_be(errno, false))
			c->err = errno;
		if (c->until_good)
			break;
	}
	return NULL;
}

#define CALLERS	2

static bool start_callers(struct caller *c, int dev, int fd, bool *stop,
			  bool until_good)
{
	int i;

	for (i = 0; i < CALLERS; i++) {
		c[i] = (struct caller) {
			.dev = dev, .fd = fd, .stop = stop,
			.until_good = until_good,
		};
		if (pthread_create(&c[i].thread, NULL, call_ioctls, &c[i]))
			return false;
	}
	return true;
}

/* What they did is added up in @sum. */
static void join_callers(struct caller *c, struct caller *sum)
{
	int i;

	for (i = 0; i < CALLERS; i++) {
		pthread_join(c[i].thread, NULL);
		sum->good += c[i].good;
		sum->refused += c[i].refused;
		if (c[i].err)
			sum->err = c[i].err;
	}
}

TEST_F_TIMEOUT(connection, begins_while_ids_are_made, TEST_RACE_TIMEOUT)
{
	struct race *race = &self->race;
	struct caller sum = {}, c[CALLERS];
	bool stop = false;

	race->env.config.hold_init = true;
	while (!sum.err && test_rounds_next(&race->rounds)) {
		int dev;

		ASSERT_EQ(0, test_restart(&race->env));
		dev = fuse_server_dev(race->env.srv);
		ASSERT_TRUE(start_callers(c, dev, self->fd, &stop, true));
		usleep(race->rounds.done % 300);
		fuse_server_answer_init(race->env.srv);
		join_callers(c, &sum);
	}
	TH_LOG("%ld rounds in %.1f s, %ld ids, %ld refused", race->rounds.done,
	       test_rounds_seconds(&race->rounds), sum.good, sum.refused);
	EXPECT_EQ(0, sum.err);
	EXPECT_EQ(CALLERS * race->rounds.done, sum.good);
	close(self->fd);
	EXPECT_TRUE(files_are_free(race));
}

TEST_F_TIMEOUT(connection, ends_while_ids_are_made, TEST_RACE_TIMEOUT)
{
	struct race *race = &self->race;
	struct caller sum = {}, c[CALLERS];
	char path[PATH_MAX];
	bool stop = false;
	int err = 0;

	test_pathf(path, "%s/file", race->pinned);
	while (!sum.err && !err && test_rounds_next(&race->rounds)) {
		ASSERT_EQ(0, test_restart(&race->env));
		ASSERT_TRUE(start_callers(c, fuse_server_dev(race->env.srv),
					  self->fd, &stop, false));
		usleep(race->rounds.done % 1000);
		ASSERT_EQ(0, fuse_server_abort(race->env.srv));
		/* Or else they go on where there are ids even now */
		__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
		join_callers(c, &sum);
		stop = false;

		/* The device is still open, but no id is left */
		close(self->fd);
		err = test_umount(race->pinned) ? errno : 0;
		ASSERT_OR_XFAIL(return, &race->env, !err,
				"keeps ids after an abort: umount says %s",
				strerror(err));
		ASSERT_EQ(0, mount(race->env.backing, race->pinned, NULL,
				   MS_BIND, NULL));
		self->fd = open(path, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, self->fd);
	}
	TH_LOG("%ld rounds in %.1f s, %ld ids", race->rounds.done,
	       test_rounds_seconds(&race->rounds), sum.good);
	EXPECT_EQ(0, sum.err);
	close(self->fd);
	EXPECT_TRUE(files_are_free(race));
}

TEST_HARNESS_MAIN
