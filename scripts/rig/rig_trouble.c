// SPDX-License-Identifier: GPL-2.0
/*
 * What a kernel under test must not do, on demand. The rig has to notice each.
 */

#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

static char *what;
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "warn, oops, spin, block, leak or lockdep");

static DEFINE_MUTEX(one);
static DEFINE_MUTEX(two);

static void rig_warn(void)
{
	WARN(1, "the rig asked for this\n");
}

static void rig_oops(void)
{
	WRITE_ONCE(*(int *)8, 0);
}

/* One CPU, with interrupts off, for ever */
static void rig_spin(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

static void rig_block(void)
{
	for (;;) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule();
	}
}

/* Some, because a stale pointer may be left on the stack */
static void rig_leak(void)
{
	void *leaked;
	int i;

	for (i = 0; i < 8; i++) {
		leaked = kmalloc(1000, GFP_KERNEL);
		/* The compiler knows that it may leave out what is not used */
		OPTIMIZER_HIDE_VAR(leaked);
	}
}

static void rig_lockdep(void)
{
	mutex_lock(&one);
	mutex_lock(&two);
	mutex_unlock(&two);
	mutex_unlock(&one);

	mutex_lock(&two);
	mutex_lock(&one);
	mutex_unlock(&one);
	mutex_unlock(&two);
}

static const struct {
	const char *name;
	void (*make)(void);
} troubles[] = {
	{ "warn", rig_warn },
	{ "oops", rig_oops },
	{ "spin", rig_spin },
	{ "block", rig_block },
	{ "leak", rig_leak },
	{ "lockdep", rig_lockdep },
};

static int __init rig_trouble_init(void)
{
	int i;

	for (i = 0; what && i < ARRAY_SIZE(troubles); i++) {
		if (!strcmp(what, troubles[i].name)) {
			troubles[i].make();
			/* Not to stay, since there may be more trouble to come */
			return -ECANCELED;
		}
	}
	return -EINVAL;
}
module_init(rig_trouble_init);

MODULE_DESCRIPTION("Trouble for the test rig to notice");
MODULE_LICENSE("GPL");
