/* A fuzzer for what the bootstrap reads: a whole stream, a compressed archive, a plain one, the requests of other nodes.  The
 * kernel is played by sys() below, which looks at what it is asked: nothing is written that has no plain name, nothing
    after a failure, and a node without the token gets nothing.
 *
 * Built and run by tests/native/fuzz.py.
 */
#include "bootstrap.h"

#include "failure.h"
#include "inflate.h"
#include "net.h"
#include "serve.h"
#include "untar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
long syscall(long number, ...);
void *memmem(const void *one, size_t size, const void *other, size_t length);

#define A_DESCRIPTOR 100
#define A_PEER 200
#define THE_NEWS 300
#define CALLS_A_SECOND 8u
#define GIVEN_BYTES 1000u
#define SECRET_BYTE 'Z'

static const uint8_t *input;
static size_t input_left, piece;
static uint64_t written, part_bytes;
static uint32_t calls, secret_bytes, there;

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

static long poll_all(struct pollfd *files, size_t count) {
    for (size_t index = 0; index < count; index++) {
        files[index].revents = files[index].fd > 0 ? files[index].events : 0;
    }
    return 1;
}

unsigned long sys_hardware;

long sys(long number, long a, long b, long c, long d, long e, long f) {
    (void)f;
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
        if (a == THE_NEWS) {
            there += there < GIVEN_BYTES;
            *(uint64_t *)b = 1;
            return 8;
        }
        return a == 0 || a == A_PEER ? read_input((uint8_t *)b, (size_t)c) : 0;
    case __NR_pread64:
        require((uint64_t)d < part_bytes);
        return read_input((uint8_t *)b, (size_t)c);
    case __NR_pwrite64:
        require(a == A_DESCRIPTOR);
        return c;
    case __NR_socket:
        return A_PEER;
    case __NR_accept4:
        return input_left > 0 ? A_PEER : -EAGAIN;
    case __NR_sendto:
        require(a == A_PEER && c == (long)sizeof(struct request));
        return c;
    case __NR_sendfile:
        require(a == A_PEER && b == A_DESCRIPTOR && secret_bytes >= TOKEN_BYTES + SHA256_BYTES);
        require(*(int64_t *)c >= 0 && (uint64_t)(*(int64_t *)c + d) <= there);
        return d < 7 ? d : 7;
    case __NR_ppoll:
        calls += input_left > 0 ? 0 : 100; /* nothing more comes: let time go by */
        return poll_all((struct pollfd *)a, (size_t)b);
    case __NR_clock_gettime:
        ((struct moment *)b)->seconds = calls++ / CALLS_A_SECOND;
        return 0;
    case __NR_write:
        written += (uint64_t)c;
        require(written <= UNTAR_BYTES_MAX + (1u << 20));
        return c;
    case __NR_statx:
        memset((void *)e, 0, sizeof(struct statx));
        ((struct statx *)e)->stx_size = part_bytes;
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

static void serve_all(const uint8_t *data, size_t size) {
    struct archive archive = {.file = A_DESCRIPTOR, .news = THE_NEWS, .size = GIVEN_BYTES, .there = there};
    memset(archive.token, SECRET_BYTE, TOKEN_BYTES);
    memset(archive.digest, SECRET_BYTE, SHA256_BYTES);
    for (size_t index = 0; index < size; index++) {
        secret_bytes += data[index] == SECRET_BYTE;
    }
    serve(A_PEER + 1, archive);
}

/* The first byte says what the rest is, the second in which pieces it comes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char *environment[] = {NULL};
    if (size < 2) {
        return 0;
    }
    memset(&failure, 0, sizeof failure);
    written = calls = secret_bytes = 0;
    there = size % 2 == 0 ? GIVEN_BYTES : GIVEN_BYTES / 2;
    part_bytes = data[0] == 4 ? 200 : 0;
    piece = (size_t)data[1] * 16 + 1;
    input = data + 2;
    input_left = size - 2;
    untar_begin(A_DESCRIPTOR);
    if (data[0] % 4 == 0) {
        require(bootstrap_run("/d", environment) != 0);
    } else if (data[0] % 4 == 1) {
        require(inflate_gzip(next_piece, untar_take, UNTAR_BYTES_MAX) || failure.code != 0 || input_left == 0);
    } else if (data[0] % 4 == 2) {
        require(untar_take(input, input_left) || failure.code != 0);
        untar_is_whole();
        untar_close();
    } else {
        serve_all(input, input_left);
    }
    return 0;
}
