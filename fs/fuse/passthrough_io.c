// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: read, write, splice and mmap on the backing file
 *
 * The way of a stacked file's I/O is modelled on fs/overlayfs/file.c.
 *
 * Everything here runs on a file whose open has ended with a backing file of
 * its own, ff->backing_file, which stays until the release. No request is sent
 * to the server, except to strip privileges that are there to be stripped.
 *
 * Locking: none of ours around the backing file's I/O; the backing file system
 * takes its own locks. Credentials of a synchronous operation are overridden
 * without a reference, since ff->backing_cred stays for as long as the file, which
 * the caller keeps open. Freeze protection of the backing superblock nests inside
 * that of the FUSE superblock, which the VFS took, and outside of pipe and inode
 * locks.
 */

#include "passthrough.h"

#include <linux/cred.h>
#include <linux/fadvise.h>
#include <linux/file.h>
#include <linux/fsnotify.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/uio.h>
#include <linux/workqueue.h>

/* What a backing file's kiocb takes over from the user's */
#define FUSE_PASSTHROUGH_IOCB_FLAGS \
	(IOCB_APPEND | IOCB_DIRECT | IOCB_DSYNC | IOCB_SYNC | IOCB_HIPRI | \
	 IOCB_NOWAIT | IOCB_WAITQ | IOCB_WRITE)

/* What fcntl(F_SETFL) may change on an open file, and is looked at later */
#define FUSE_PASSTHROUGH_SETFL_FLAGS \
	(O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME)

/*
 * An asynchronous operation on the backing file. @ref counts the submission,
 * which may go on using @iocb after the completion ran, and the completion.
 */
struct fuse_passthrough_aio {
	struct kiocb iocb;
	refcount_t ref;
	bool write;
	struct kiocb *orig_iocb;
	struct work_struct work;
	long res;
};

/* For ends of writes, on which memory reclaim may depend (swap, loop devices) */
static struct workqueue_struct *fuse_passthrough_wq;

static noinline int fuse_passthrough_change_flags(struct file *file,
						  struct file *backing_file)
{
	unsigned int flags = fuse_passthrough_flags(file) &
			     FUSE_PASSTHROUGH_SETFL_FLAGS;

	/* As setfl() would have done, had it known the backing inode */
	if (((flags ^ READ_ONCE(backing_file->f_flags)) & O_APPEND) &&
	    IS_APPEND(file_inode(backing_file)))
		return -EPERM;

	if ((flags & O_DIRECT) && !(backing_file->f_mode & FMODE_CAN_ODIRECT))
		return -EINVAL;

	spin_lock(&backing_file->f_lock);
	/* Others may be looking whether they have anything to change */
	WRITE_ONCE(backing_file->f_flags,
		   (backing_file->f_flags & ~FUSE_PASSTHROUGH_SETFL_FLAGS) |
		   flags);
	backing_file->f_iocb_flags = iocb_flags(backing_file);
	spin_unlock(&backing_file->f_lock);

	return 0;
}

/*
 * What the user's file and mount say now, the backing file says too: O_NOATIME
 * and splices are decided by the backing file's own flags.
 */
static inline int fuse_passthrough_sync_flags(struct file *file,
					      struct file *backing_file,
					      int rw)
{
	unsigned int mask = FUSE_PASSTHROUGH_SETFL_FLAGS;
	unsigned int flags;

	if (rw == WRITE) {
		/* It does not move the access time, whatever the mount says */
		flags = data_race(file->f_flags);
		mask &= ~O_NOATIME;
	} else {
		flags = fuse_passthrough_flags(file);
	}

	if (likely(!((READ_ONCE(backing_file->f_flags) ^ flags) & mask)))
		return 0;

	return fuse_passthrough_change_flags(file, backing_file);
}

/*
 * Only direct I/O is worth making asynchronous. Buffered I/O is done when the
 * backing file returns, or it returns -EIOCBQUEUED for IOCB_WAITQ: then nothing
 * will be completed, but the caller tries again when the page is unlocked.
 */
static bool fuse_passthrough_is_async(struct kiocb *iocb)
{
	return (iocb->ki_flags & IOCB_DIRECT) && !is_sync_kiocb(iocb);
}

static inline struct kiocb fuse_passthrough_iocb(struct kiocb *orig,
						 struct file *backing_file)
{
	return (struct kiocb) {
		.ki_filp	= backing_file,
		.ki_pos		= orig->ki_pos,
		.ki_flags	= orig->ki_flags & FUSE_PASSTHROUGH_IOCB_FLAGS,
		.ki_ioprio	= orig->ki_ioprio,
	};
}

/* Of a mount with "sync" each write is as one with O_DSYNC, see iocb_is_dsync() */
static inline bool fuse_passthrough_is_sync(struct file *file)
{
	return unlikely(file_inode(file)->i_sb->s_flags & SB_SYNCHRONOUS);
}

static inline int fuse_passthrough_prepare(struct file *file,
					   struct file *backing_file, int rw)
{
	if (fuse_is_bad(file_inode(file)))
		return -EIO;

	return fuse_passthrough_sync_flags(file, backing_file, rw);
}

static inline int fuse_passthrough_prepare_iocb(struct kiocb *iocb,
						struct file *backing_file,
						int rw)
{
	int err;

	err = fuse_passthrough_prepare(iocb->ki_filp, backing_file, rw);
	if (err)
		return err;

	/* The user's flags may have changed since the kiocb was filled in */
	if ((iocb->ki_flags & IOCB_DIRECT) &&
	    !(backing_file->f_mode & FMODE_CAN_ODIRECT))
		return -EINVAL;

	if (rw == WRITE && !(iocb->ki_flags & IOCB_APPEND) &&
	    (READ_ONCE(backing_file->f_flags) & O_APPEND) &&
	    IS_APPEND(file_inode(backing_file)))
		return -EPERM;

	return 0;
}

/*
 * The ATTR_KILL_* that a write by the current user calls for. Either mode may be
 * newer than the other. But what the server was found to hide does not count, for
 * as long as it says that the mode is valid.
 */
static int fuse_passthrough_should_drop(struct file *file,
					struct file *backing_file)
{
	struct inode *inode = file_inode(file);
	struct inode *backing_inode = file_inode(backing_file);
	struct fuse_inode *fi = get_fuse_inode(inode);
	int kill = setattr_should_drop_suidgid(&init_user_ns, inode);

	if ((backing_inode->i_mode & (S_ISUID | S_ISGID)) ==
	    READ_ONCE(fi->hidden_mode) &&
	    !(READ_ONCE(fi->inval_mask) & STATX_MODE) &&
	    time_before64(get_jiffies_64(), READ_ONCE(fi->i_time)))
		return kill;

	return kill | setattr_should_drop_suidgid(file_mnt_user_ns(backing_file),
						  backing_inode);
}

/*
 * Strips setuid and setgid, if they are there, as the user that writes. The
 * server is told to, whatever it negotiated: HANDLE_KILLPRIV and
 * HANDLE_KILLPRIV_V2 leave it to the server's handling of WRITE, which it is
 * not going to see. security.capability is stripped from the backing file by
 * the backing file system.
 */
static int fuse_passthrough_strip_mode(struct file *file,
				       struct file *backing_file)
{
	struct inode *inode = file_inode(file);
	struct iattr attr = { .ia_valid = ATTR_MODE | ATTR_FORCE };
	umode_t backing_mode;
	struct kstat stat;
	int kill;
	int err;

	inode_lock(inode);
	backing_mode = file_inode(backing_file)->i_mode;
	/*
	 * The mode may be stale, and stays so if another write ends before the
	 * reply is here: then that counts as outdated.
	 */
	err = fuse_do_getattr(inode, &stat, file);
	if (err)
		goto out_unlock;

	kill = fuse_passthrough_should_drop(file, backing_file);
	if (!kill)
		goto out_unlock;

	attr.ia_mode = stat.mode;
	if (kill & ATTR_KILL_SUID)
		attr.ia_mode &= ~S_ISUID;
	if (kill & ATTR_KILL_SGID)
		attr.ia_mode &= ~S_ISGID;
	/*
	 * The backing file's bits are not among those that the server shows. It
	 * need not be asked again for as long as they are the same.
	 */
	if (attr.ia_mode == stat.mode) {
		WRITE_ONCE(get_fuse_inode(inode)->hidden_mode,
			   backing_mode & (S_ISUID | S_ISGID));
		goto out_unlock;
	}

	err = fuse_do_setattr(file_dentry(file), &attr, file);
	if (!err)
		fsnotify_change(file_dentry(file), ATTR_MODE);

out_unlock:
	inode_unlock(inode);
	return err;
}

static noinline int fuse_passthrough_drop_privs(struct file *file,
						struct file *backing_file,
						bool nowait)
{
	if (!fuse_passthrough_should_drop(file, backing_file))
		return 0;

	if (nowait)
		return -EAGAIN;

	return fuse_passthrough_strip_mode(file, backing_file);
}

static inline int fuse_passthrough_remove_privs(struct file *file,
						struct file *backing_file,
						bool nowait)
{
	umode_t mode = file_inode(file)->i_mode |
		       file_inode(backing_file)->i_mode;

	if (likely(!(mode & (S_ISUID | S_ISGID))))
		return 0;

	return fuse_passthrough_drop_privs(file, backing_file, nowait);
}

/*
 * Freeze protection of the backing superblock; false if it would have to be
 * waited for
 */
static inline bool fuse_passthrough_start_write(struct super_block *sb,
						bool nowait)
{
	if (nowait)
		return sb_start_write_trylock(sb);

	sb_start_write(sb);
	return true;
}

/* A write to the backing file has returned @ret, and is now at @pos. */
static inline void fuse_passthrough_written(struct file *file, loff_t pos,
					    ssize_t ret)
{
	if (likely(ret > 0))
		fuse_passthrough_attr_written(file_inode(file), pos);
	/* Else it was nothing but a look whether it would have to wait */
	else if (ret != -EAGAIN)
		fuse_passthrough_attr_written(file_inode(file), 0);
}

/*
 * Undoes the submission's preparations. A write changed the inode even if it
 * failed half way, but its end is known only if it did not: then it is no further
 * than this, as not every file system has moved ki_pos there. More than the
 * backing file has does not count.
 */
static void fuse_passthrough_aio_end(struct fuse_passthrough_aio *aio, long res)
{
	struct kiocb *orig_iocb = aio->orig_iocb;

	if (aio->write) {
		kiocb_end_write(&aio->iocb);
		fuse_passthrough_written(orig_iocb->ki_filp,
					 aio->iocb.ki_pos + max(res, 0L), res);
	}
	orig_iocb->ki_pos = aio->iocb.ki_pos;
}

static void fuse_passthrough_aio_put(struct fuse_passthrough_aio *aio)
{
	if (refcount_dec_and_test(&aio->ref)) {
		fput(aio->iocb.ki_filp);
		kfree(aio);
	}
}

static void fuse_passthrough_aio_finish(struct fuse_passthrough_aio *aio)
{
	struct kiocb *orig_iocb = aio->orig_iocb;
	long res = aio->res;

	fuse_passthrough_aio_end(aio, res);
	fuse_passthrough_aio_put(aio);
	fuse_io_end(orig_iocb->ki_filp->private_data);
	orig_iocb->ki_complete(orig_iocb, res);
}

static void fuse_passthrough_aio_work(struct work_struct *work)
{
	fuse_passthrough_aio_finish(container_of(work,
						 struct fuse_passthrough_aio,
						 work));
}

static void fuse_passthrough_aio_complete(struct kiocb *iocb, long res)
{
	struct fuse_passthrough_aio *aio =
		container_of(iocb, struct fuse_passthrough_aio, iocb);

	aio->res = res;

	/* fi->lock is taken after a write, and is not safe in interrupts */
	if (aio->write && (!in_task() || irqs_disabled())) {
		INIT_WORK(&aio->work, fuse_passthrough_aio_work);
		queue_work(fuse_passthrough_wq, &aio->work);
		return;
	}

	fuse_passthrough_aio_finish(aio);
}

static ssize_t fuse_passthrough_aio_submit(struct kiocb *orig_iocb,
					   struct file *backing_file,
					   struct iov_iter *iter)
{
	struct super_block *backing_sb = file_inode(backing_file)->i_sb;
	bool nowait = orig_iocb->ki_flags & IOCB_NOWAIT;
	struct fuse_passthrough_aio *aio;
	ssize_t ret;

	aio = kmalloc(sizeof(*aio),
		      nowait ? GFP_NOWAIT | __GFP_NOWARN : GFP_KERNEL);
	if (!aio)
		return nowait ? -EAGAIN : -ENOMEM;

	aio->iocb = fuse_passthrough_iocb(orig_iocb, get_file(backing_file));
	aio->iocb.ki_complete = fuse_passthrough_aio_complete;
	aio->orig_iocb = orig_iocb;
	/* Not every caller in the kernel sets IOCB_WRITE */
	aio->write = iov_iter_rw(iter) == WRITE;
	if (aio->write && fuse_passthrough_is_sync(orig_iocb->ki_filp))
		aio->iocb.ki_flags |= IOCB_DSYNC;
	refcount_set(&aio->ref, 2);

	ret = -EAGAIN;
	if (aio->write && !fuse_passthrough_start_write(backing_sb, nowait))
		goto out_put;

	if (aio->write) {
		/* As in aio_write(): it is kiocb_end_write() that unlocks */
		__sb_writers_release(backing_sb, SB_FREEZE_WRITE);
		ret = vfs_iocb_iter_write(backing_file, &aio->iocb, iter);
	} else {
		ret = vfs_iocb_iter_read(backing_file, &aio->iocb, iter);
	}

	if (ret != -EIOCBQUEUED)
		fuse_passthrough_aio_end(aio, ret);

out_put:
	/* The completion's reference, if there is not going to be one */
	if (ret != -EIOCBQUEUED)
		fuse_passthrough_aio_put(aio);
	fuse_passthrough_aio_put(aio);

	return ret;
}

static noinline ssize_t fuse_passthrough_aio_rw(struct kiocb *iocb,
						struct file *backing_file,
						struct iov_iter *iter)
{
	struct file *file = iocb->ki_filp;
	struct fuse_file *ff = file->private_data;
	const struct cred *old_cred;
	ssize_t ret;

	fuse_io_begin(ff, true);
	if (iov_iter_rw(iter) == WRITE) {
		ret = fuse_passthrough_remove_privs(file, backing_file,
						    iocb->ki_flags &
						    IOCB_NOWAIT);
		if (ret)
			goto out_end;
	}

	/* When this returns, the file may be gone, and with it its credentials */
	old_cred = override_creds(ff->backing_cred);
	ret = fuse_passthrough_aio_submit(iocb, backing_file, iter);
	revert_creds(old_cred);
	if (ret == -EIOCBQUEUED)
		return ret;

out_end:
	fuse_io_end(ff);
	return ret;
}

static __always_inline ssize_t fuse_passthrough_read(struct kiocb *orig_iocb,
						     struct file *backing_file,
						     struct iov_iter *to)
{
	struct fuse_file *ff = orig_iocb->ki_filp->private_data;
	struct kiocb iocb = fuse_passthrough_iocb(orig_iocb, backing_file);
	const struct cred *old_cred;
	ssize_t ret;

	/* IOCB_WAITQ, which buffered reads alone may have */
	iocb.ki_waitq = orig_iocb->ki_waitq;
	old_cred = override_creds_light(ff->backing_cred);
	ret = vfs_iocb_iter_read(backing_file, &iocb, to);
	revert_creds_light(old_cred);
	orig_iocb->ki_pos = iocb.ki_pos;

	return ret;
}

static __always_inline ssize_t fuse_passthrough_write(struct kiocb *orig_iocb,
						      struct file *backing_file,
						      struct iov_iter *from)
{
	struct super_block *backing_sb = file_inode(backing_file)->i_sb;
	struct file *file = orig_iocb->ki_filp;
	struct fuse_file *ff = file->private_data;
	struct kiocb iocb = fuse_passthrough_iocb(orig_iocb, backing_file);
	const struct cred *old_cred;
	ssize_t ret;

	ret = fuse_passthrough_remove_privs(file, backing_file,
					    iocb.ki_flags & IOCB_NOWAIT);
	if (ret)
		return ret;

	if (!fuse_passthrough_start_write(backing_sb,
					  iocb.ki_flags & IOCB_NOWAIT))
		return -EAGAIN;

	if (fuse_passthrough_is_sync(file))
		iocb.ki_flags |= IOCB_DSYNC;
	old_cred = override_creds_light(ff->backing_cred);
	ret = vfs_iocb_iter_write(backing_file, &iocb, from);
	revert_creds_light(old_cred);
	sb_end_write(backing_sb);
	orig_iocb->ki_pos = iocb.ki_pos;
	fuse_passthrough_written(file, iocb.ki_pos, ret);

	return ret;
}

/**
 * fuse_passthrough_read_iter() - ->read_iter() of a passthrough file
 * @iocb: the user's kiocb on the FUSE file
 * @to: where the data go
 *
 * Context: may sleep unless IOCB_NOWAIT is set
 * Return: bytes read, -EIOCBQUEUED, -EIO if the inode is bad, -EINVAL for
 * O_DIRECT that the backing file does not support, -EPERM if O_APPEND was
 * changed while the backing file is append-only, -ENOMEM, -EAGAIN for IOCB_NOWAIT
 * if memory or anything else has to be waited for, or the backing file's error
 */
ssize_t fuse_passthrough_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct fuse_file *ff = iocb->ki_filp->private_data;
	struct file *backing_file = ff->backing_file;
	ssize_t ret;
	int err;

	err = fuse_passthrough_prepare_iocb(iocb, backing_file, READ);
	if (err)
		return err;

	if (fuse_passthrough_is_async(iocb))
		return fuse_passthrough_aio_rw(iocb, backing_file, to);

	/* The usual case: inlined apart, it has nothing to remember or to undo */
	if (!fuse_io_begin(ff, false))
		return fuse_passthrough_read(iocb, backing_file, to);

	ret = fuse_passthrough_read(iocb, backing_file, to);
	fuse_io_end(ff);

	return ret;
}

/**
 * fuse_passthrough_write_iter() - ->write_iter() of a passthrough file
 * @iocb: the user's kiocb on the FUSE file
 * @from: where the data come from
 *
 * The FUSE inode is not locked: the backing file system orders writes as it
 * does for its other users.
 *
 * Context: may sleep unless IOCB_NOWAIT is set; freeze protection of the FUSE
 * superblock held
 * Return: bytes written, -EIOCBQUEUED, -EIO if the inode is bad, -EINVAL for
 * O_DIRECT that the backing file does not support, -EPERM if O_APPEND was
 * changed while the backing file is append-only, -EAGAIN for IOCB_NOWAIT if
 * privileges have to be stripped first, or the backing file system is frozen, or
 * anything else has to be waited for, -ENOMEM, or the error of the backing file, or
 * of the server for stripping privileges
 */
ssize_t fuse_passthrough_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct fuse_file *ff = iocb->ki_filp->private_data;
	struct file *backing_file = ff->backing_file;
	ssize_t ret;
	int err;

	if (!iov_iter_count(from))
		return 0;

	err = fuse_passthrough_prepare_iocb(iocb, backing_file, WRITE);
	if (err)
		return err;

	if (fuse_passthrough_is_async(iocb))
		return fuse_passthrough_aio_rw(iocb, backing_file, from);

	if (!fuse_io_begin(ff, false))
		return fuse_passthrough_write(iocb, backing_file, from);

	ret = fuse_passthrough_write(iocb, backing_file, from);
	fuse_io_end(ff);

	return ret;
}

/**
 * fuse_passthrough_splice_read() - ->splice_read() of a passthrough file
 * @in: FUSE file
 * @ppos: file position, in bytes; moved on
 * @pipe: pipe to fill, locked by the caller
 * @len: bytes wanted
 * @flags: SPLICE_F_*
 *
 * Unlike a read, this is not seen by the security module's rules of the backing
 * file, but by those of the FUSE file.
 *
 * Return: bytes spliced, -EIO if the inode is bad, -EINVAL if the backing file
 * cannot be spliced from or O_DIRECT was set that it does not support, -EPERM if
 * O_APPEND was changed while the backing file is append-only, or the backing file's
 * error
 */
ssize_t fuse_passthrough_splice_read(struct file *in, loff_t *ppos,
				     struct pipe_inode_info *pipe, size_t len,
				     unsigned int flags)
{
	struct fuse_file *ff = in->private_data;
	struct file *backing_file = ff->backing_file;
	const struct cred *old_cred;
	bool counted;
	ssize_t ret;

	if (!backing_file->f_op->splice_read)
		return -EINVAL;

	ret = fuse_passthrough_prepare(in, backing_file, READ);
	if (ret)
		return ret;

	counted = fuse_io_begin(ff, false);
	old_cred = override_creds_light(ff->backing_cred);
	ret = backing_file->f_op->splice_read(backing_file, ppos, pipe, len,
					      flags);
	revert_creds_light(old_cred);
	if (counted)
		fuse_io_end(ff);

	return ret;
}

/*
 * A splice goes by the backing file's own flags, and leaves in the pipe what it
 * could not write to the disk. If the mount is not "sync" any more, this stays.
 */
static void fuse_passthrough_set_dsync(struct file *backing_file)
{
	if (READ_ONCE(backing_file->f_flags) & O_DSYNC)
		return;

	spin_lock(&backing_file->f_lock);
	WRITE_ONCE(backing_file->f_flags, backing_file->f_flags | O_DSYNC);
	backing_file->f_iocb_flags = iocb_flags(backing_file);
	spin_unlock(&backing_file->f_lock);
}

/* For a splice_write() of its own, which need not go by these flags: overlayfs */
static int fuse_passthrough_sync_range(struct fuse_file *ff, loff_t pos,
				       size_t len)
{
	const struct cred *old_cred;
	int err;

	old_cred = override_creds_light(ff->backing_cred);
	err = vfs_fsync_range(ff->backing_file, pos, pos + len - 1, 1);
	revert_creds_light(old_cred);

	return err;
}

/**
 * fuse_passthrough_splice_write() - ->splice_write() of a passthrough file
 * @pipe: pipe to drain, not locked
 * @out: FUSE file
 * @ppos: file position, in bytes; moved on
 * @len: bytes wanted
 * @flags: SPLICE_F_*
 *
 * iter_file_splice_write() on the FUSE file would take freeze protection of the
 * backing superblock inside of the pipe lock, the other way round than a splice
 * into the backing file itself does (see ovl_splice_write()). So the splice is
 * one into the backing file, with that protection held.
 *
 * Context: freeze protection of the FUSE superblock held
 * Return: bytes spliced, -EIO if the inode is bad, -EINVAL if O_DIRECT was set
 * that the backing file does not support, -EPERM if O_APPEND was changed while
 * the backing file is append-only, or the error of the backing file, or of the
 * server for stripping privileges
 */
ssize_t fuse_passthrough_splice_write(struct pipe_inode_info *pipe,
				      struct file *out, loff_t *ppos,
				      size_t len, unsigned int flags)
{
	struct fuse_file *ff = out->private_data;
	struct file *backing_file = ff->backing_file;
	ssize_t (*splice_write)(struct pipe_inode_info *pipe, struct file *out,
				loff_t *ppos, size_t len, unsigned int flags);
	const struct cred *old_cred;
	bool counted;
	ssize_t ret;

	splice_write = backing_file->f_op->splice_write ?:
		       iter_file_splice_write;
	ret = fuse_passthrough_prepare(out, backing_file, WRITE);
	if (ret)
		return ret;

	counted = fuse_io_begin(ff, false);
	ret = fuse_passthrough_remove_privs(out, backing_file, false);
	if (ret)
		goto out_end;

	if (fuse_passthrough_is_sync(out) &&
	    splice_write == iter_file_splice_write)
		fuse_passthrough_set_dsync(backing_file);
	old_cred = override_creds_light(ff->backing_cred);
	file_start_write(backing_file);
	ret = splice_write(pipe, backing_file, ppos, len, flags);
	file_end_write(backing_file);
	revert_creds_light(old_cred);

	/* The backing file's event has been made */
	if (ret > 0)
		fsnotify_modify(out);
	fuse_passthrough_written(out, *ppos, ret);
	if (ret > 0 && fuse_passthrough_is_sync(out) &&
	    splice_write != iter_file_splice_write)
		ret = fuse_passthrough_sync_range(ff, *ppos - ret, ret) ?: ret;

out_end:
	if (counted)
		fuse_io_end(ff);
	return ret;
}

/* What do_mmap() checks, of the inode that is mapped in place of FUSE's */
static int fuse_passthrough_may_mmap(struct file *backing_file,
				     struct vm_area_struct *vma)
{
	struct inode *inode = file_inode(backing_file);

	if (!backing_file->f_op->mmap)
		return -ENODEV;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return 0;

	if (IS_APPEND(inode) && (backing_file->f_mode & FMODE_WRITE))
		return -EACCES;

	if (IS_SWAPFILE(inode) && (vma->vm_flags & VM_WRITE))
		return -ETXTBSY;

	return 0;
}

/**
 * fuse_passthrough_mmap() - ->mmap() of a passthrough file
 * @file: FUSE file
 * @vma: the new mapping
 *
 * The mapping is one of the backing file, whose page cache it shares with
 * everybody else who uses that file. By its reference to ff->backing_file it
 * keeps the FUSE file from being released.
 *
 * Context: mmap_lock of the user's address space held for writing
 * Return: 0, -EIO if the inode is bad, -ENODEV if the backing file cannot be
 * mapped, -EACCES if it is append-only and -ETXTBSY if it is a swap file, neither
 * of which can be mapped to write, -EINVAL or -EPERM as for reading, or its error,
 * e.g. -EPERM if it is sealed against that
 */
int fuse_passthrough_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct fuse_file *ff = file->private_data;
	struct file *backing_file = ff->backing_file;
	const struct cred *old_cred;
	int err;

	err = fuse_passthrough_may_mmap(backing_file, vma);
	if (err)
		return err;

	/* Whether the access time moves is decided now */
	err = fuse_passthrough_prepare(file, backing_file, READ);
	if (err)
		return err;

	vma_set_file(vma, backing_file);

	old_cred = override_creds_light(ff->backing_cred);
	err = call_mmap(backing_file, vma);
	revert_creds_light(old_cred);

	/* By a stacked file system, see file_open_fake_path() */
	if (!err && vma->vm_file != backing_file)
		WRITE_ONCE(ff->mapped_below, true);

	return err;
}

/**
 * fuse_passthrough_fadvise() - ->fadvise() where passthrough is, or may begin
 * @file: FUSE file
 * @offset: where the advice begins, in bytes
 * @len: for how many bytes it is, 0 for all that follow
 * @advice: POSIX_FADV_*
 *
 * readahead(2) comes here, too. A file that was opened with FOPEN_DIRECT_IO may
 * have no backing file, but must not fill the FUSE page cache. Its pages would be
 * locked until the server answers, which may be the one that waits for them: when
 * the last passthrough file is released the page cache is emptied.
 *
 * Return: 0, -EINVAL for unknown advice or a negative @len, or the backing file's
 * error
 */
int fuse_passthrough_fadvise(struct file *file, loff_t offset, loff_t len,
			     int advice)
{
	struct fuse_file *ff = file->private_data;
	struct file *backing_file = ff->backing_file;
	const struct cred *old_cred;
	int err;

	if (!backing_file && advice == POSIX_FADV_WILLNEED && len >= 0)
		return 0;
	if (!backing_file)
		return generic_fadvise(file, offset, len, advice);

	old_cred = override_creds_light(ff->backing_cred);
	err = vfs_fadvise(backing_file, offset, len, advice);
	revert_creds_light(old_cred);

	return err;
}

/**
 * fuse_passthrough_init() - what all connections' passthrough needs
 *
 * Return: 0 or -ENOMEM
 */
int __init fuse_passthrough_init(void)
{
	fuse_passthrough_wq = alloc_workqueue("fuse_passthrough",
					      WQ_UNBOUND | WQ_MEM_RECLAIM, 0);

	return fuse_passthrough_wq ? 0 : -ENOMEM;
}

/**
 * fuse_passthrough_exit() - undo fuse_passthrough_init()
 *
 * Context: no connections are left
 */
void fuse_passthrough_exit(void)
{
	destroy_workqueue(fuse_passthrough_wq);
}
