#include "bootstrap.h"

#include "answer.h"
#include "failure.h"
#include "number.h"
#include "path.h"
#include "retention.h"
#include "serve.h"
#include "tree.h"
#include "tending.h"
#include "unpack.h"

#define WORDS_BYTES_MAX 16384u
#define WORDS_MAX 64u
#define ARCHIVE_BYTES_MAX (64u << 20)
#define REPLACE 1u

#define PATH_ROOM 4096u
#define STATUS_FAILED 1
#define STATUS_SLAVES 3 /* start/script.py has the same */
#ifndef LOCK_EXCLUSIVE   /* a test has a lock without effect, as on a file server */
#define LOCK_EXCLUSIVE 2 /* LOCK_EX, LOCK_UN of flock(2) */
#endif
#define LOCK_AT_ONCE 4 /* LOCK_NB */
#define UNLOCK 8

struct header {
    char magic[4];
    uint32_t words_bytes;
    uint64_t archive_bytes;
    uint32_t secret_bytes, flags;
    uint8_t digest[SHA256_BYTES];
    uint8_t token[TOKEN_BYTES];
};

static struct header header;
static char text[WORDS_BYTES_MAX];
static const char *words[WORDS_MAX];
static uint32_t word_count;
static uint8_t secret[SECRET_BYTES_MAX];

static bool bad(const char *words_for_it) {
    return fail(-EINVAL, words_for_it, "header");
}

/* A part of a file's name: it is not to lead anywhere. */
static bool is_name(const char *name) {
    size_t length = strlen(name);
    for (size_t index = 0; index < length; index++) {
        char at = name[index];
        bool letter = (at >= 'a' && at <= 'z') || (at >= '0' && at <= '9') || at == '-';
        if (!letter) {
            return false;
        }
    }
    return length > 0 && length <= SLAVE_NAME_BYTES_MAX;
}

static bool split_words(void) {
    uint32_t start = 0;
    word_count = 0;
    for (uint32_t index = 0; index < header.words_bytes; index++) {
        if (text[index] != 0) {
            continue;
        }
        if (word_count == WORDS_MAX) {
            return bad("it has too many words");
        }
        words[word_count++] = text + start;
        start = index + 1;
    }
    return start == header.words_bytes || bad("its last word has no end");
}

static bool read_header(void) {
    if (!read_exactly(&header, sizeof header)) {
        return false;
    }
    if (memcmp(header.magic, BOOTSTRAP_FORMAT, sizeof header.magic) != 0) {
        return bad("it is of another version of gproc");
    }
    if (header.words_bytes > WORDS_BYTES_MAX || header.archive_bytes > ARCHIVE_BYTES_MAX ||
        header.secret_bytes > SECRET_BYTES_MAX || header.flags > REPLACE) {
        return bad("it asks for more than there may be");
    }
    if (!read_exactly(text, header.words_bytes) || !split_words()) {
        return false;
    }
    return (word_count > 0 && is_name(words[0])) || bad("it names no slave");
}

static struct archive wanted(void) {
    struct archive archive = {.file = -1, .news = -1, .size = header.archive_bytes};
    memcpy(archive.digest, header.digest, SHA256_BYTES);
    memcpy(archive.token, header.token, TOKEN_BYTES);
    return archive;
}

static void answer_have(uint16_t port) {
    char number[DIGITS_MAX + 1];
    number[number_write(number, port)] = 0;
    answer("have", number);
}

/* What the bytes of the runtime that is being brought to that directory were at last. */
static uint64_t brought(int directory, const char *name) {
    char part[PART_NAME_BYTES + 1];
    struct statx found = {0};
    part_name(part, name);
    SYS5(statx, directory, part, AT_SYMLINK_NOFOLLOW, STATX_SIZE, &found);
    return found.stx_size;
}

/* Wait until no other process brings a runtime here; more bytes of that runtime are a sign of life. */
static long lock_against_others(int directory, const char *name) {
    struct moment tick = {0, 20000000};
    uint64_t before = 0;
    long result = SYS2(flock, directory, LOCK_EXCLUSIVE | LOCK_AT_ONCE);
    if (result == -EAGAIN) {
        doing("waits for another gproc start that unpacks the runtime there");
    }
    while (result == -EAGAIN) {
        uint64_t now = brought(directory, name);
        if (now != before) {
            still_doing("waits for another gproc start that unpacks the runtime there");
            before = now;
        }
        SYS2(nanosleep, &tick, NULL);
        result = SYS2(flock, directory, LOCK_EXCLUSIVE | LOCK_AT_ONCE);
    }
    return result;
}

/* Under a lock: two front ends may send the same runtime to one machine. */
static bool have_runtime(const char *path, int directory, const char *name, bool *serves) {
    struct archive archive = wanted();
    uint16_t port = 0;
    long result = lock_against_others(directory, name);
    if (result != 0) {
        return fail(result, NULL, "flock");
    }
    retention_prune(directory, name);
    bool good = runtime_is_there(directory, name) || runtime_unpack(directory, name, &archive, &port);
    if (good) {
        retention_hold(directory, name);
    }
    SYS2(flock, directory, UNLOCK);
    if (!good && for_want_of_room()) {
        fail(-failure.code, "it has no room for the runtime, 50 MB in 100 files", path);
    }
    if (good) {
        *serves = port != 0;
        answer_have(port);
    }
    return good;
}

/* Other nodes get the archive until the front end closes this: then the process that serves it ends with us. */
static void stay(void) {
    char byte;
    while (SYS3(read, 0, &byte, 1) == 1) {
        continue;
    }
}

static bool no_slave(int directory) {
    long pid = slave_found(directory, words[0]);
    if (pid <= 0 || (header.flags & REPLACE) != 0) {
        return pid == 0 || (pid > 0 && slave_end(directory, words[0]));
    }
    char number[DIGITS_MAX + 1];
    number[number_write(number, (uint32_t)pid)] = 0;
    answer("found", number);
    failure.code = 0;
    return false;
}

/* `directory`/`name`/`rest` into `path`. */
static bool join(char path[PATH_ROOM], const char *directory, const char *name, const char *rest) {
    const char *parts[5] = {directory, "/", name, "/", rest};
    size_t used = 0;
    for (uint32_t index = 0; index < 5; index++) {
        size_t length = strlen(parts[index]);
        if (used + length >= PATH_ROOM) {
            return fail(-ENAMETOOLONG, NULL, directory);
        }
        memcpy(path + used, parts[index], length);
        used += length;
    }
    path[used] = 0;
    return true;
}

/* interpreter.py has the same names. */
static int start(int directory, const char *path, const char *name, char **environment) {
    static char loader[PATH_ROOM], libraries[PATH_ROOM], python[PATH_ROOM];
    static char *command[WORDS_MAX + 16];
    static char fixed[][24] = {"--library-path", "-I", "-S", "-X", "utf8", "-m", "gproc"};
    if (!join(loader, path, name, "ld.so") || !join(libraries, path, name, "lib") ||
        !join(python, path, name, "bin/python3")) {
        answer_failed();
        return STATUS_FAILED;
    }
    uint32_t count = 0;
    command[count++] = loader;
    command[count++] = fixed[0];
    command[count++] = libraries;
    command[count++] = python;
    for (uint32_t index = 1; index < sizeof fixed / sizeof fixed[0]; index++) {
        command[count++] = fixed[index];
    }
    for (uint32_t index = 1; index < word_count; index++) {
        command[count++] = (char *)(uintptr_t)words[index];
    }
    command[count] = NULL;
    return slave_start(directory, words[0], name, command, environment, secret, header.secret_bytes);
}

int bootstrap_run(const char *path, char **environment) {
    char name[RUNTIME_NAME_BYTES + 1];
    uint64_t of_writing = SIGNAL_BIT(SIGPIPE) | SIGNAL_BIT(SIGXFSZ); /* then write(2) fails instead */
    int directory = open_own(path);
    bool serves = false;
    /* Without a front end there is no reader for answers; what was begun must still be ended. */
    SYS4(rt_sigprocmask, SIG_BLOCK, &of_writing, NULL, sizeof of_writing);
    bool good = directory >= 0 && read_header();
    if (good) {
        runtime_name(name, header.digest);
        good = have_runtime(path, directory, name, &serves) && read_exactly(secret, header.secret_bytes) && no_slave(directory);
    }
    if (!good) {
        if (failure.code != 0) {
            answer_failed();
        }
        return STATUS_FAILED;
    }
    int status = start(directory, path, name, environment);
    if (status == 0 && serves) {
        stay();
    }
    return status;
}

int bootstrap_stop(const char *path, const char *name) {
    int directory = open_own(path);
    bool good = directory >= 0 && (is_name(name) || fail(-EINVAL, "it is no slave's name", name));
    long pid = good ? slave_found(directory, name) : -1;
    if (pid < 0 || (pid > 0 && !slave_end(directory, name))) {
        answer_failed();
        return STATUS_FAILED;
    }
    answer(pid == 0 ? "none" : "stopped", "");
    return 0;
}

/* Whether any slave runs from there, or may run; if so, that is said. */
static bool any_slave(int directory, const char *path) {
    struct entries entries = {.directory = directory};
    const char *name;
    for (;;) {
        name = next_name(&entries);
        if (name == NULL && entries.size < 0) {
            answer("kept", "whether another slave of this user runs there cannot be read");
            return true;
        }
        if (name == NULL) {
            return false;
        }
        static char said[PATH_ROOM];
        if (!slave_has_lock_name(name) || !slave_holds(directory, name)) {
            continue;
        }
        const char *parts[4] = {"another slave of this user runs there: ", path, "/", name};
        size_t used = 0;
        for (uint32_t index = 0; index < 4; index++) {
            size_t size = strlen(parts[index]), room = sizeof said - 1 - used;
            size = size < room ? size : room;
            memcpy(said + used, parts[index], size);
            used += size;
        }
        said[used] = 0;
        answer("kept", said);
        return true;
    }
}

int bootstrap_look(const char *path) {
    int directory = open_own(path);
    if (directory < 0) {
        answer_failed();
        return STATUS_FAILED;
    }
    return any_slave(directory, path) ? STATUS_SLAVES : 0;
}
