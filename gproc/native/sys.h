/* The kernel, as this program calls it: there is no libc below.
 *
 * Each call returns what the kernel returned; from -4095 to -1 that is a negated errno.  Structures and numbers come
 * from the kernel's own headers, which every machine with a C compiler has; what came after Linux 4.18 is defined here.
 */
#ifndef GPROC_SYS_H
#define GPROC_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/ioctls.h>
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/keyctl.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/signalfd.h>
#include <linux/stat.h>
#include <linux/time.h>
#include <linux/timerfd.h>
#include <linux/utsname.h>
#include <linux/wait.h>
#if __has_include(<linux/mount.h>)
#include <linux/mount.h>
#else
#include <linux/fs.h>
#endif

/* All of it is one program: nothing is looked up in a table of addresses, which no loader would fill in. */
#ifndef HOSTED
#pragma GCC visibility push(hidden)
#endif

#ifndef __NR_close_range
#define __NR_close_range 436
#endif
#ifndef __NR_openat2
#define __NR_openat2 437
#endif

/* <linux/openat2.h>, since 5.6. */
struct how {
    uint64_t flags, mode, resolve;
};
#define NO_MAGICLINKS 0x02
#define NO_SYMLINKS 0x04
#define BENEATH 0x08

#ifndef SEEK_DATA /* lseek(2); linux/fs.h has them too */
#define SEEK_SET 0
#define SEEK_DATA 3
#define SEEK_HOLE 4
#endif
#ifndef S_IFMT
#define S_IFMT 00170000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#endif

/* getdents64(2). */
struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* timespec as 64-bit kernels have it. */
struct moment {
    int64_t seconds, nanoseconds;
};

/* sendmsg(2), with one descriptor: cmsg(3). */
struct piece {
    const void *at;
    size_t size;
};

struct with_descriptor {
    size_t size;
    int level, kind, descriptor;
};

struct message {
    void *name;
    uint32_t name_size;
    struct piece *pieces;
    size_t piece_count;
    void *control;
    size_t control_size;
    uint32_t flags;
};
#define SOCKET_LEVEL 1
#define DESCRIPTORS 1

/* As <linux/signal.h> has it for the kernel's own signal sets, of 64 signals. */
#define SIGNALS 64
#define SIGNAL_BIT(signum) (1UL << ((signum) - 1))
#define ALL_SIGNALS (~0UL)

/* The one call that all others are made of. */
long sys(long number, long a, long b, long c, long d, long e, long f);

/* clone(2) with these flags, of which CLONE_VM is one: run `body` in a child that shares this process's memory, on the
 * stack that ends at `top`.  The child's pid. */
long sys_clone(unsigned long flags, int (*body)(void *), void *top, void *argument);

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *at, int byte, size_t size);
int memcmp(const void *one, const void *other, size_t size);
size_t strlen(const char *text);

#define SYS0(name) sys(__NR_##name, 0, 0, 0, 0, 0, 0)
#define SYS1(name, a) sys(__NR_##name, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(name, a, b) sys(__NR_##name, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(name, a, b, c) sys(__NR_##name, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(name, a, b, c, d) sys(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(name, a, b, c, d, e) sys(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS6(name, a, b, c, d, e, f) \
    sys(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* Seconds that only go forward. */
static inline int64_t seconds(void) {
    struct moment now = {0, 0};
    SYS2(clock_gettime, CLOCK_MONOTONIC, &now);
    return now.seconds;
}

_Noreturn void sys_exit(int status);

/* What the kernel says that the processor can do, AT_HWCAP of getauxval(3); 0 on a libc. */
extern unsigned long sys_hardware;

#endif
