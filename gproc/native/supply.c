#include "supply.h"

#include "answer.h"
#include "failure.h"
#include "number.h"
#include "path.h"
#include "tree.h"

#define INPUT_BYTES 65536u
#define NAMES_MAX 4096u
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_BYTES 36u
#define SILENCE_S 60 /* of a front end that is sending; it gives a node up sooner */

static struct {
    int directory, part; /* part below 0: the disk is full, or the file cannot be made */
    int guest_of;        /* the connection to another node; below 0: none */
    bool giving;         /* the rest comes on standard input */
    bool gone;           /* no process is there that could give the rest */
    bool doubtful;
    char part_name[PART_NAME_BYTES + 1];
    struct archive wanted;
    struct server server; /* of what has come */
    const char *why;      /* why the last supply ended; "" at first */
    uint64_t come, given;
    struct sha256 sha;
    uint8_t bytes[INPUT_BYTES];
} now;

static long read_some(int file, void *to, size_t size) {
    for (;;) {
        long got = SYS3(read, file, to, size);
        if (got != -EINTR) {
            return got;
        }
    }
}

bool read_exactly(void *to, size_t size) {
    uint8_t *at = to;
    while (size > 0) {
        long got = read_some(0, at, size);
        if (got <= 0) {
            return fail(got == 0 ? -EPIPE : got, "the front end is gone", "standard input");
        }
        at += got;
        size -= (size_t)got;
    }
    return true;
}

const char *this_machine(void) {
    static char name[MACHINE_BYTES + 1];
    if (name[0] == 0) {
        struct new_utsname own = {.nodename = ""};
        size_t used = 1;
        int file = (int)SYS4(openat, AT_FDCWD, BOOT_ID, O_RDONLY | O_CLOEXEC, 0);
        long got = file < 0 ? file : SYS3(read, file, name + 1, BOOT_ID_BYTES);
        close_quietly(file);
        used += got < 0 ? 0 : (size_t)got;
        name[used++] = '-';
        SYS1(uname, &own);
        for (const char *at = own.nodename; *at != 0 && used < MACHINE_BYTES; at++) {
            name[used++] = *at == '/' ? '_' : *at;
        }
        name[0] = '-';
    }
    return name;
}

void part_name(char part[PART_NAME_BYTES + 1], const char *name) {
    const char *machine = this_machine();
    memcpy(part, name, RUNTIME_NAME_BYTES);
    memcpy(part + RUNTIME_NAME_BYTES, PART_SUFFIX, sizeof PART_SUFFIX - 1);
    memcpy(part + RUNTIME_NAME_BYTES + sizeof PART_SUFFIX - 1, machine, strlen(machine) + 1);
}

static bool is_part(const char *name) {
    return strlen(name) >= RUNTIME_NAME_BYTES + sizeof PART_SUFFIX - 1 &&
           memcmp(name, "runtime-", sizeof "runtime-" - 1) == 0 &&
           memcmp(name + RUNTIME_NAME_BYTES, PART_SUFFIX, sizeof PART_SUFFIX - 1) == 0;
}

static bool is_of_this_machine(const char *part) {
    const char *machine = part + RUNTIME_NAME_BYTES + sizeof PART_SUFFIX - 1, *own = this_machine();
    return strlen(machine) == strlen(own) && memcmp(machine, own, strlen(own)) == 0;
}

bool is_part_of_another(const char *name) {
    return is_part(name) && !is_of_this_machine(name);
}

/* No process resumes what another version left: the lock that we hold keeps it out. */
static void remove_other_parts(void) {
    struct entries entries = {.directory = (int)SYS4(openat, now.directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)};
    const char *name;
    for (uint32_t count = 0; count < NAMES_MAX && (name = next_name(&entries)) != NULL; count++) {
        if (is_part(name) && is_of_this_machine(name) && memcmp(name, now.part_name, RUNTIME_NAME_BYTES) != 0) {
            SYS3(unlinkat, now.directory, name, 0);
        }
    }
    close_quietly(entries.directory);
}

static void open_part(bool anew) {
    int how = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | (anew ? O_TRUNC : 0);
    struct statx found;
    now.part = (int)SYS4(openat, now.directory, now.part_name, how, 0600);
    if (now.part < 0 || SYS5(statx, now.part, "", AT_EMPTY_PATH, STATX_SIZE, &found) != 0) {
        return;
    }
    now.come = found.stx_size;
    if (now.come > now.wanted.size) {
        SYS2(ftruncate, now.part, 0);
        now.come = 0;
    }
    now.doubtful = now.come > 0;
}

static void begin_to_serve(void) {
    struct archive archive = now.wanted;
    archive.file = now.part;
    archive.there = now.come;
    if (now.part >= 0) {
        now.server = serve_start(&archive);
    }
}

void supply_begin(int directory, const char *name, const struct archive *wanted, bool anew) {
    memset(&now, 0, offsetof(__typeof__(now), bytes));
    now.directory = directory;
    now.guest_of = -1;
    now.wanted = *wanted;
    now.why = anew ? "what came is not the runtime" : "";
    part_name(now.part_name, name);
    sha256_begin(&now.sha);
    remove_other_parts();
    open_part(anew);
    begin_to_serve();
}

static size_t at_most(uint64_t left) {
    return left < INPUT_BYTES ? (size_t)left : INPUT_BYTES;
}

/* From the beginning of what is given to where we are. */
static bool skip(uint64_t left) {
    while (left > 0) {
        size_t size = at_most(left);
        if (!read_exactly(now.bytes, size)) {
            return false;
        }
        left -= size;
    }
    return true;
}

/* The front end says from where the rest comes.  It is told how far we are, where others get what we have, and why the last
 * supply was not enough. */
static bool ask(void) {
    struct order order;
    char text[2 * DIGITS_MAX + 160];
    size_t used = number_write(text, (uint32_t)now.come), length = strlen(now.why);
    text[used++] = ' ';
    used += number_write(text + used, serve_port(&now.server));
    if (length > 0) {
        text[used++] = ' ';
    }
    length = length < sizeof text - used - 1 ? length : sizeof text - used - 1;
    memcpy(text + used, now.why, length);
    text[used + length] = 0;
    answer("need", text);
    if (!read_exactly(&order, sizeof order)) {
        return false;
    }
    now.giving = order.kind == GIVE;
    if (order.kind > FETCH || (now.giving && order.offset > now.come)) {
        return fail(-EINVAL, "it says from nowhere the rest comes", "order");
    }
    if (now.giving) {
        return skip(now.come - order.offset);
    }
    struct request request;
    memcpy(request.magic, REQUEST_FORMAT, sizeof request.magic);
    memcpy(request.token, order.token, TOKEN_BYTES);
    memcpy(request.digest, now.wanted.digest, SHA256_BYTES);
    request.offset = (uint32_t)now.come;
    now.guest_of = fetch_open(order.address, order.port, &request, &now.why);
    return true;
}

/* A front end that has lost its power closes nothing, and sshd notices that after hours; until then we would keep the
 * next start from here. */
static long read_from_front_end(size_t size) {
    struct pollfd file = {0, POLLIN, 0};
    struct moment patience = {SILENCE_S, 0};
    long result = SYS5(ppoll, &file, 1, &patience, NULL, 0);
    return result == 0 ? -ETIMEDOUT : read_some(0, now.bytes, size);
}

/* The next bytes of the supply that we have; 0 if it has ended. */
static size_t receive(size_t size) {
    if (now.giving) {
        long got = read_from_front_end(size);
        if (got <= 0) {
            now.gone = true;
            fail(got == 0 ? -EPIPE : got, "the front end is gone", "runtime");
        }
        return got <= 0 ? 0 : (size_t)got;
    }
    long got = now.guest_of < 0 ? 0 : fetch_next(now.guest_of, now.bytes, size, &now.why);
    if (got <= 0) {
        close_quietly(now.guest_of);
        now.guest_of = -1;
        return 0;
    }
    now.doubtful = true;
    return (size_t)got;
}

/* Without room for it the archive is still unpacked; it cannot be resumed then, nor handed on any more. */
static void keep(size_t size) {
    for (size_t done = 0; now.part >= 0 && done < size;) {
        long wrote = SYS4(pwrite64, now.part, now.bytes + done, size - done, now.come + done);
        if (wrote <= 0) {
            SYS3(unlinkat, now.directory, now.part_name, 0);
            SYS2(ftruncate, now.part, 0);
            close_quietly(now.part);
            now.part = -1;
            serve_end(&now.server);
            return;
        }
        done += (size_t)wrote;
    }
    serve_more(&now.server, size);
}

static size_t from_part(size_t size) {
    long got = SYS4(pread64, now.part, now.bytes, size, now.given);
    if (got <= 0) {
        fail(got == 0 ? -EIO : got, NULL, now.part_name);
        return 0;
    }
    return (size_t)got;
}

static size_t next_bytes(void) {
    if (now.given < now.come) {
        return from_part(at_most(now.come - now.given));
    }
    for (;;) {
        if (!now.giving && now.guest_of < 0 && !ask()) {
            now.gone = true;
            return 0;
        }
        size_t got = receive(at_most(now.wanted.size - now.come));
        if (got > 0) {
            still_doing("receives the runtime");
            keep(got);
            now.come += got;
        }
        if (got > 0 || now.gone) {
            return got;
        }
    }
}

size_t supply_next(const uint8_t **bytes) {
    if (now.given == now.wanted.size) {
        fail(-EPIPE, "its archive ends too early", "runtime");
        return 0;
    }
    size_t got = next_bytes();
    now.given += got;
    sha256_take(&now.sha, now.bytes, got);
    *bytes = now.bytes;
    return got;
}

bool supply_is_right(void) {
    const uint8_t *bytes;
    uint8_t found[SHA256_BYTES];
    /* What lies behind the compressed bytes counts for the digest too. */
    while (now.given < now.wanted.size) {
        if (supply_next(&bytes) == 0) {
            return false;
        }
    }
    sha256_end(&now.sha, found);
    return memcmp(found, now.wanted.digest, SHA256_BYTES) == 0 || fail(-EINVAL, "it is not the one that was announced", "runtime");
}

bool supply_is_doubtful(void) {
    return now.doubtful && !now.gone;
}

uint16_t supply_end(bool good) {
    close_quietly(now.guest_of);
    close_quietly(now.part);
    if (!now.gone) {
        SYS3(unlinkat, now.directory, now.part_name, 0);
    }
    if (!good) {
        serve_end(&now.server);
    }
    return serve_port(&now.server);
}
