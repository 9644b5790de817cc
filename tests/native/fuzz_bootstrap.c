/* A fuzzer for what the bootstrap reads: a whole stream, a compressed archive, a plain one.  The kernel is played by sys()
 * below, which looks at what it is asked: nothing is written that has no plain name, and nothing after a failure.
 *
 * Built and run by tests/native/fuzz.py.
 */
#include "bootstrap.h"

#include "failure.h"
#include "inflate.h"
#include "untar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
long syscall(long number, ...);
void *memmem(const void *one, size_t size, const void *other, size_t length);

#define A_DESCRIPTOR 100

static const uint8_t *input;
static size_t input_left, piece;
static uint64_t written;

static void require(bool held) {
    if (!held) {
        __builtin_trap();
    }
}

static void require_plain(const char *name) {
    size_t length = strlen(name);
    require(length > 0 && length <= 100 && name[0] != '/');
    for (size_t index = 0; index < length; index++) {
        bool begins = index == 0 || name[index - 1] == '/';
        require(!(begins && name[index] == '/'));
        require(!(begins && name[index] == '.' && name[index + 1] == '.' && (name[index + 2] == 0 || name[index + 2] == '/')));
    }
}

static long read_input(uint8_t *to, size_t size) {
    size_t part = size < input_left ? size : input_left;
    part = part < piece ? part : piece;
    for (size_t index = 0; index < part; index++) {
        to[index] = input[index]; /* each byte is looked at by ASan */
    }
    input += part;
    input_left -= part;
    return (long)part;
}

long sys(long number, long a, long b, long c, long d, long e, long f) {
    (void)d, (void)e, (void)f;
    switch (number) {
    case __NR_openat:
        if (a == A_DESCRIPTOR && (c & O_CREAT) != 0) {
            require_plain((const char *)b);
            require((c & O_NOFOLLOW) != 0);
        }
        return A_DESCRIPTOR;
    case __NR_mkdirat:
        require(a == A_DESCRIPTOR);
        require_plain((const char *)b);
        return 0;
    case __NR_read:
        return a == 0 ? read_input((uint8_t *)b, (size_t)c) : 0;
    case __NR_write:
        written += (uint64_t)c;
        require(written <= UNTAR_BYTES_MAX + (1u << 20));
        return c;
    case __NR_statx:
        memset((void *)e, 0, sizeof(struct statx));
        return 0;
    case __NR_pipe2:
        ((int *)a)[0] = ((int *)a)[1] = A_DESCRIPTOR;
        return 0;
    case __NR_fcntl:
        if (b == F_GETLK) {
            ((struct flock *)c)->l_type = F_UNLCK;
        }
        return b == F_DUPFD_CLOEXEC ? A_DESCRIPTOR : 0;
    case __NR_clone:
        return -EAGAIN;
    case __NR_kill:
    case __NR_execve:
        __builtin_trap();
    default:
        return 0;
    }
}

long sys_clone(unsigned long flags, int (*body)(void *), void *top, void *argument) {
    (void)flags, (void)body, (void)top, (void)argument;
    __builtin_trap();
}

_Noreturn void sys_exit(int status) {
    (void)status;
    __builtin_trap();
}

static size_t next_piece(const uint8_t **bytes) {
    size_t part = piece < input_left ? piece : input_left;
    *bytes = input;
    input += part;
    input_left -= part;
    return part;
}

/* The first byte says what the rest is, the second in which pieces it comes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char *environment[] = {NULL};
    if (size < 2) {
        return 0;
    }
    memset(&failure, 0, sizeof failure);
    written = 0;
    piece = (size_t)data[1] * 16 + 1;
    input = data + 2;
    input_left = size - 2;
    untar_begin(A_DESCRIPTOR);
    if (data[0] % 3 == 0) {
        require(bootstrap_run("/d", environment) != 0);
    } else if (data[0] % 3 == 1) {
        require(inflate_gzip(next_piece, untar_take, UNTAR_BYTES_MAX) || failure.code != 0 || input_left == 0);
    } else {
        require(untar_take(input, input_left) || failure.code != 0);
        untar_is_whole();
        untar_close();
    }
    return 0;
}
