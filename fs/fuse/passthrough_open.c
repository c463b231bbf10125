// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: which way the I/O of an open file goes
 *
 * A regular file's inode is in one of three modes, which its open files share:
 *
 *  neutral	no opens, or only opens with FOPEN_DIRECT_IO that are not mapped
 *  cached	I/O goes through the FUSE page cache
 *  passthrough	I/O goes to fi->backing, and the FUSE page cache is empty
 *
 * An open either fits into the mode that its inode is in, begins a mode on a
 * neutral inode, or is refused. fi->io_opens lists the opens that keep the mode;
 * the last one to leave ends it. An open that was closed already, but whose last
 * reference is still on its way to ->release(), does no I/O any more. It is made
 * to leave when it would be in the way of another. If what is left of it are the
 * references of reads and writes under way, the other waits for their end.
 *
 * Ownership: fi->backing is owned by the inode for as long as it is in
 * passthrough mode. ff->backing_file is owned by the open file, from
 * fuse_passthrough_open() until fuse_passthrough_release(), and by each mapping
 * made of it. It in turn owns a reference to ff: RELEASE is sent, and the open
 * leaves its mode, when the file is closed and its last mapping is gone.
 *
 * Locking: fi->lock protects fi->io_mode, fi->io_opens, fi->backing, and
 * ff->io_entry and ff->user_file of the opens on the list. Whether there is a
 * fi->backing is also looked at without it, and again with it where that matters.
 * ff->io_count is atomic, ff->io_begun and ff->mapped_below are flags which are
 * looked at without a lock. The other fields of the open file are constant while it
 * can be used.
 */

#include "passthrough.h"

#include <linux/cred.h>
#include <linux/file.h>
#include <linux/pagemap.h>
#include <linux/wait.h>

#define CREATE_TRACE_POINTS
#include <trace/events/fuse.h>

/* What may come with FOPEN_PASSTHROUGH in a reply */
#define FUSE_PASSTHROUGH_FOPEN_FLAGS \
	(FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE | \
	 FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES)

/* What the backing file can do without blocking, the FUSE file can, too */
#define FUSE_PASSTHROUGH_FMODE \
	(FMODE_NOWAIT | FMODE_BUF_RASYNC | FMODE_BUF_WASYNC)

/*
 * How long, in jiffies, an open waits for the last steps of another that may
 * have been closed: from the end of its I/O until its release, for which it has
 * to run. An open that is going to be refused always takes that long.
 */
#define FUSE_IO_GRACE	(HZ / 20)

/* Says why, where a server's author can see it. The user gets EIO. */
static int fuse_passthrough_refuse(struct fuse_file *ff, const char *reason,
				   int err)
{
	struct fuse_conn *fc = ff->fm->fc;

	trace_fuse_passthrough_refused(fc->dev, ff->nodeid, ff->backing_id,
				       ff->open_flags, reason, err);
	pr_debug("passthrough refused on %u:%u: %s (nodeid %llu, backing_id %d, open_flags %#x, error %d)\n",
		 MAJOR(fc->dev), MINOR(fc->dev), reason, ff->nodeid,
		 ff->backing_id, ff->open_flags, err);

	return -EIO;
}

/* Checks what the reply says by itself; NULL if there is nothing wrong */
static const char *fuse_passthrough_check_reply(struct fuse_file *ff)
{
	if (!ff->fm->fc->passthrough)
		return "not enabled on this connection";

	if (ff->open_flags & ~FUSE_PASSTHROUGH_FOPEN_FLAGS)
		return "open flags do not go with passthrough";

	if (ff->backing_id < 0)
		return "backing id is negative";

	return NULL;
}

static bool fuse_backing_same_inode(struct fuse_backing *a,
				    struct fuse_backing *b)
{
	return file_inode(a->file) == file_inode(b->file);
}

/* @file is being opened, so that it is alive until ff->user_file is cleared */
static void fuse_io_enter(struct fuse_inode *fi, struct fuse_file *ff,
			  struct file *file, enum fuse_io_mode mode)
{
	lockdep_assert_held(&fi->lock);

	fi->io_mode = mode;
	ff->user_file = file;
	hlist_add_head(&ff->io_entry, &fi->io_opens);
}

/* Wakes the opens that wait for the end of another: few, so that they share a queue */
static void fuse_io_wake(struct fuse_conn *fc)
{
	/*
	 * Who waits is in the queue before looking at what was changed here, be
	 * it under fi->lock or with a barrier
	 */
	if (waitqueue_active(&fc->io_waitq))
		wake_up_all(&fc->io_waitq);
}

/* Does nothing for an open that has left, or never entered, a mode */
static void fuse_io_leave(struct fuse_inode *fi, struct fuse_file *ff)
{
	lockdep_assert_held(&fi->lock);

	if (hlist_unhashed(&ff->io_entry))
		return;

	hlist_del_init(&ff->io_entry);
	if (!hlist_empty(&fi->io_opens))
		return;

	fi->io_mode = FUSE_IO_NEUTRAL;
	if (fi->backing)
		fuse_passthrough_attr_update(fi);
	fuse_backing_put(fi->backing);
	/* fuse_inode_passthrough() looks at it without the lock */
	WRITE_ONCE(fi->backing, NULL);
	fuse_io_wake(get_fuse_conn(&fi->inode));
}

/**
 * fuse_io_end() - undo fuse_io_begin(), after the read or write has ended
 * @ff: open file, which the caller has a reference to through its user_file
 *
 * Opens that wait for the end of this one look again.
 *
 * Context: any, interrupts included
 */
void fuse_io_end(struct fuse_file *ff)
{
	atomic_dec(&ff->io_count);
	/*
	 * Pairs with the barrier in prepare_to_wait_event(): who is not seen in
	 * the queue here is going to see the new count.
	 */
	smp_mb__after_atomic();
	fuse_io_wake(ff->fm->fc);
}

/*
 * Will there be no more I/O through this open? If its file has been closed, the
 * only reference to ff->backing_file that is not a mapping's is ff's own, until
 * the file's release drops that. Mappings of a file below it cannot be counted.
 */
static bool fuse_io_is_over(struct fuse_file *ff)
{
	if (ff->user_file && file_count(ff->user_file))
		return false;

	/* What it did before its last reference was dropped is to be seen */
	smp_rmb();

	if (READ_ONCE(ff->mapped_below))
		return false;

	return !ff->backing_file ||
	       file_count(ff->backing_file) <= (ff->user_file ? 1 : 0);
}

/*
 * Has the file been closed, so that nobody but reads and writes under way has a
 * reference to it? Others who have one for a moment, and I/O that begins or ends
 * just now, can make this wrong, either way. There are some who read and write
 * many times with one reference (registered files of io_uring, loop devices):
 * through a file that has been closed no new I/O begins.
 */
static bool fuse_io_is_ending(struct fuse_file *ff)
{
	long count = ff->user_file ? file_count(ff->user_file) : 0;

	/* Without any, a mapping keeps the mode, or I/O that has just ended */
	return count && !READ_ONCE(ff->io_begun) &&
	       count <= atomic_read(&ff->io_count);
}

/* From now on, see what begins */
static void fuse_io_watch(struct fuse_inode *fi)
{
	struct fuse_file *ff;

	spin_lock(&fi->lock);
	hlist_for_each_entry(ff, &fi->io_opens, io_entry)
		WRITE_ONCE(ff->io_begun, false);
	spin_unlock(&fi->lock);
}

static void fuse_io_leave_closed(struct fuse_inode *fi)
{
	struct fuse_file *ff;
	struct hlist_node *next;

	hlist_for_each_entry_safe(ff, next, &fi->io_opens, io_entry) {
		if (fuse_io_is_over(ff))
			fuse_io_leave(fi, ff);
	}
}

/*
 * Is there an open that keeps passthrough mode? Looks no further than to the first
 * one, so that it does not take longer if there are many.
 */
static bool fuse_io_in_passthrough(struct fuse_inode *fi)
{
	struct fuse_file *ff;
	struct hlist_node *next;

	if (fi->io_mode != FUSE_IO_PASSTHROUGH)
		return false;

	hlist_for_each_entry_safe(ff, next, &fi->io_opens, io_entry) {
		if (!fuse_io_is_over(ff))
			return true;
		fuse_io_leave(fi, ff);
	}

	return false;
}

static const char *fuse_passthrough_conflict(struct fuse_inode *fi,
					     struct fuse_backing *fb)
{
	lockdep_assert_held(&fi->lock);

	if (fi->io_mode == FUSE_IO_CACHED)
		return "inode has cached opens";

	if (fb && fi->backing && !fuse_backing_same_inode(fb, fi->backing))
		return "inode has another backing file";

	return NULL;
}

/* What becomes of the opens that are in the way of another */
enum fuse_io_conflict {
	FUSE_IO_CONFLICT_NONE,
	FUSE_IO_CONFLICT_ENDS,	/* together with I/O that is under way */
	FUSE_IO_CONFLICT_STAYS,
};

static enum fuse_io_conflict fuse_io_look(struct fuse_inode *fi,
					  struct fuse_backing *fb)
{
	enum fuse_io_conflict conflict = FUSE_IO_CONFLICT_NONE;
	struct fuse_file *ff;

	spin_lock(&fi->lock);
	fuse_io_leave_closed(fi);
	if (fuse_passthrough_conflict(fi, fb)) {
		conflict = FUSE_IO_CONFLICT_ENDS;
		hlist_for_each_entry(ff, &fi->io_opens, io_entry) {
			if (!fuse_io_is_ending(ff))
				conflict = FUSE_IO_CONFLICT_STAYS;
		}
	}
	spin_unlock(&fi->lock);

	return conflict;
}

/*
 * Waits for the end of opens that are in the way of another with @fb, if they
 * have been closed. What looks like an fd's reference may be that of I/O which
 * has just ended, so that the wait for I/O, even if there is none, is followed by
 * a short one for the release. It may also be that of I/O which was just about to
 * begin when the file was closed, so that what has begun by the end of the first
 * short wait is not held against the file.
 *
 * Returns 1 if nothing is in the way any more, 0 if something stays there, or
 * -ERESTARTSYS if the task is being killed.
 */
static long fuse_io_wait(struct fuse_inode *fi, struct fuse_backing *fb)
{
	struct fuse_conn *fc = get_fuse_conn(&fi->inode);
	bool again = false;
	long ret;

	fuse_io_watch(fi);
	do {
		ret = wait_event_killable(fc->io_waitq,
					  fuse_io_look(fi, fb) !=
					  FUSE_IO_CONFLICT_ENDS);
		if (ret)
			return ret;

		ret = wait_event_killable_timeout(fc->io_waitq,
						  fuse_io_look(fi, fb) ==
						  FUSE_IO_CONFLICT_NONE,
						  FUSE_IO_GRACE);
		if (ret)
			return ret < 0 ? ret : 1;

		if (!again)
			fuse_io_watch(fi);
		again = true;
	} while (fuse_io_look(fi, fb) == FUSE_IO_CONFLICT_ENDS);

	return 0;
}

/*
 * Enters passthrough mode with *@fbp, with which there is no conflict, or with the
 * inode's own backing file if that is NULL; *@fbp then becomes a reference to it.
 */
static const char *fuse_passthrough_enter(struct fuse_inode *fi,
					  struct fuse_file *ff,
					  struct file *file,
					  struct fuse_backing **fbp)
{
	struct fuse_backing *fb = *fbp;

	lockdep_assert_held(&fi->lock);

	if (!fb && !fi->backing)
		return "backing id is zero and the inode has no backing file";

	if (!fb) {
		*fbp = fuse_backing_get(fi->backing);
	} else if (!fi->backing) {
		WRITE_ONCE(fi->backing, fuse_backing_get(fb));
		WRITE_ONCE(fi->hidden_mode, 0);
		fuse_passthrough_attr_begin(fi);
	}

	fuse_io_enter(fi, ff, file, FUSE_IO_PASSTHROUGH);
	return NULL;
}

static void fuse_passthrough_leave(struct inode *inode, struct fuse_file *ff)
{
	struct fuse_inode *fi = get_fuse_inode(inode);

	spin_lock(&fi->lock);
	fuse_io_leave(fi, ff);
	spin_unlock(&fi->lock);
}

/*
 * A reply without FOPEN_PASSTHROUGH. Returns a reference if the inode is in
 * passthrough mode, which the open then has to join so as to see the same data.
 */
static struct fuse_backing *fuse_passthrough_join(struct fuse_inode *fi,
						  struct fuse_file *ff,
						  struct file *file)
{
	struct fuse_backing *fb = NULL;

	spin_lock(&fi->lock);
	if (fuse_io_in_passthrough(fi))
		fuse_passthrough_enter(fi, ff, file, &fb);
	else if (!(ff->open_flags & FOPEN_DIRECT_IO))
		fuse_io_enter(fi, ff, file, FUSE_IO_CACHED);
	spin_unlock(&fi->lock);

	return fb;
}

static bool fuse_io_keeps_mode(struct fuse_inode *fi, struct fuse_file *ff)
{
	bool keeps;

	spin_lock(&fi->lock);
	keeps = !hlist_unhashed(&ff->io_entry);
	spin_unlock(&fi->lock);

	return keeps;
}

/* The last reference to ff->backing_file is gone, that of mappings included */
static void fuse_passthrough_released(void *data)
{
	struct fuse_file *ff = data;
	struct inode *inode = ff->inode;

	put_cred(ff->backing_cred);
	/*
	 * What got into the page cache all the same, by swapon(2) or uprobes, must
	 * not be seen after the mode. If that has ended, whoever has ended it sees
	 * to that: the pages that are there now may be another open's, and locked
	 * until the server answers. (They still are if it ends just now.)
	 */
	if (fuse_io_keeps_mode(get_fuse_inode(inode), ff))
		invalidate_inode_pages2(inode->i_mapping);
	/* What the last stores have changed, also on another FUSE mount */
	fuse_passthrough_inval_mask(inode);
	fuse_passthrough_leave(inode, ff);
	fuse_file_put(ff, ff->fm->fc->auto_submounts);
	iput(inode);
}

/*
 * What was stored to a mapping of a cached open may be on its way to the server
 * still, though its pages are clean: the server must have it before the backing
 * file is read or written. There will be no more of it in passthrough mode.
 */
static void fuse_passthrough_sync_writes(struct inode *inode)
{
	struct fuse_inode *fi = get_fuse_inode(inode);
	bool none;

	spin_lock(&fi->lock);
	none = RB_EMPTY_ROOT(&fi->writepages);
	spin_unlock(&fi->lock);
	if (none)
		return;

	inode_lock(inode);
	fuse_set_nowrite(inode);
	fuse_release_nowrite(inode);
	inode_unlock(inode);
}

/* Consumes the reference to @fb. The inode has entered passthrough mode. */
static int fuse_passthrough_attach(struct inode *inode, struct file *file,
				   struct fuse_backing *fb)
{
	struct fuse_file *ff = file->private_data;
	struct file *backing_file;
	int err, refused;

	/* Pairs with fuse_inode_stores(): either sees what the other has done */
	smp_mb();
	/* Left over from cached opens: nobody would keep it up to date */
	invalidate_inode_pages2(inode->i_mapping);
	fuse_passthrough_sync_writes(inode);

	backing_file = fuse_backing_open_file(fb, file,
					      fuse_passthrough_flags(file),
					      fuse_passthrough_released, ff);
	err = PTR_ERR_OR_ZERO(backing_file);
	if (err)
		goto out_leave;

	/* Dropped by fuse_passthrough_released() */
	refcount_inc(&ff->count);
	ihold(inode);
	ff->inode = inode;
	ff->backing_cred = get_cred(fb->cred);
	ff->backing_file = backing_file;
	fuse_backing_put(fb);

	/*
	 * FUSE itself cannot do without waiting for the server. Only the server
	 * is asked by ->poll(), who does not read and write the data.
	 */
	if (!(ff->open_flags & FOPEN_DIRECT_IO)) {
		file->f_mode |= FMODE_DATA_NOPOLL |
				(backing_file->f_mode & FUSE_PASSTHROUGH_FMODE);
		file->f_op = &fuse_passthrough_file_operations;
	}

	return 0;

out_leave:
	fuse_passthrough_leave(inode, ff);
	fuse_backing_put(fb);
	refused = fuse_passthrough_refuse(ff, "cannot open the backing file",
					  err);
	/*
	 * For one, there is a lease on the backing file: the same open may succeed
	 * later. It is not restarted if it has made the file (O_EXCL).
	 */
	if (err == -ERESTARTSYS && (file->f_mode & FMODE_CREATED))
		return -EINTR;
	if (err == -EAGAIN || err == -EINTR || err == -ERESTARTSYS)
		return err;

	return refused;
}

/* Waits for what is in the way of @ff, if it ends. NULL, or why it cannot begin */
static const char *fuse_passthrough_begin(struct fuse_inode *fi,
					  struct fuse_file *ff,
					  struct file *file,
					  struct fuse_backing **fbp)
{
	const char *conflict, *reason = NULL;

	/* What was in the way is gone after the wait, but another may have come */
	do {
		spin_lock(&fi->lock);
		conflict = fuse_passthrough_conflict(fi, *fbp);
		if (!conflict)
			reason = fuse_passthrough_enter(fi, ff, file, fbp);
		spin_unlock(&fi->lock);

		if (!conflict)
			return reason;
	} while (fuse_io_wait(fi, *fbp) > 0);

	return conflict;
}

static int fuse_passthrough_open_backing(struct inode *inode, struct file *file)
{
	struct fuse_inode *fi = get_fuse_inode(inode);
	struct fuse_file *ff = file->private_data;
	struct fuse_backing *fb = NULL;
	const char *reason;

	reason = fuse_passthrough_check_reply(ff);
	if (reason)
		return fuse_passthrough_refuse(ff, reason, -EINVAL);

	if (ff->backing_id) {
		fb = fuse_backing_lookup(ff->fm->fc, ff->backing_id);
		if (!fb)
			return fuse_passthrough_refuse(ff, "no such backing id",
						       -ENOENT);
	}

	reason = fuse_passthrough_begin(fi, ff, file, &fb);
	if (reason) {
		fuse_backing_put(fb);
		return fuse_passthrough_refuse(ff, reason, -EBUSY);
	}

	return fuse_passthrough_attach(inode, file, fb);
}

/**
 * fuse_passthrough_open() - settle which way the I/O of a new open goes
 * @inode: FUSE inode
 * @file: file being opened, with the reply to OPEN, CREATE or TMPFILE in its
 *	private data
 *
 * Nothing is left behind on failure; the caller has to send the RELEASE.
 *
 * Context: may sleep; the parent's inode may be locked, @inode is not
 * Return: 0, or -EIO if the reply cannot be followed. A tracepoint and a
 * pr_debug() name the cause. -EAGAIN, -EINTR or -ERESTARTSYS if the backing file
 * cannot be waited for, e.g. for the end of a lease on it.
 */
int fuse_passthrough_open(struct inode *inode, struct file *file)
{
	struct fuse_inode *fi = get_fuse_inode(inode);
	struct fuse_file *ff = file->private_data;
	struct fuse_backing *fb;
	bool was;

	if (!S_ISREG(inode->i_mode) || FUSE_IS_DAX(inode))
		return 0;

	if (ff->open_flags & FOPEN_PASSTHROUGH)
		return fuse_passthrough_open_backing(inode, file);

	if (!ff->fm->fc->passthrough)
		return 0;

	was = fuse_inode_passthrough(inode);
	fb = fuse_passthrough_join(fi, ff, file);
	if (fb)
		return fuse_passthrough_attach(inode, file, fb);

	/* Who ends the mode empties the page cache: see fuse_passthrough_released() */
	if (was)
		invalidate_inode_pages2(inode->i_mapping);
	return 0;
}

/**
 * fuse_passthrough_may_cache() - may a FOPEN_DIRECT_IO file use the page cache?
 * @file: open file without a backing file, about to be mapped privately
 *
 * If so, the open is a cached one from now on.
 *
 * Context: mmap_lock held
 * Return: false if the inode is in passthrough mode
 */
bool fuse_passthrough_may_cache(struct file *file)
{
	struct fuse_inode *fi = get_fuse_inode(file_inode(file));
	struct fuse_file *ff = file->private_data;
	bool may;

	if (!ff->fm->fc->passthrough)
		return true;

	spin_lock(&fi->lock);
	may = !fuse_io_in_passthrough(fi);
	if (may && hlist_unhashed(&ff->io_entry))
		fuse_io_enter(fi, ff, file, FUSE_IO_CACHED);
	spin_unlock(&fi->lock);

	return may;
}

/**
 * fuse_passthrough_release() - undo fuse_passthrough_open()
 * @inode: FUSE inode
 * @ff: open file that is being closed, without any I/O in flight
 *
 * Mappings of a passthrough file may go on to keep @ff, and its mode.
 *
 * Context: process context; no locks held
 */
void fuse_passthrough_release(struct inode *inode, struct fuse_file *ff)
{
	struct fuse_inode *fi = get_fuse_inode(inode);

	/* Nothing to do for most files of connections without passthrough */
	if (!ff->user_file)
		return;

	spin_lock(&fi->lock);
	if (!ff->backing_file)
		fuse_io_leave(fi, ff);
	ff->user_file = NULL;
	/* If mappings are left, it is not about to end any more */
	fuse_io_wake(ff->fm->fc);
	spin_unlock(&fi->lock);

	if (ff->backing_file)
		fput(ff->backing_file);
}
