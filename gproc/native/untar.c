#include "untar.h"

#include "failure.h"
#include "path.h"

/* The header of POSIX.1-1988, "ustar": where its fields are. */
#define SIZE_AT 124u
#define SIZE_DIGITS 11u
#define MODE_AT 100u
#define MODE_DIGITS 7u
#define CHECKSUM_AT 148u
#define CHECKSUM_BYTES 8u
#define CHECKSUM_DIGITS 6u
#define TYPE_AT 156u
#define MAGIC_AT 257u
#define PREFIX_AT 345u

#define PLAIN_FILE '0'
#define A_DIRECTORY '5'

static struct {
    int into, file;      /* below 0: none is open */
    uint32_t entries;
    uint64_t left;       /* of the file's content */
    uint64_t padding;    /* behind it */
    bool ended;
    uint32_t used;       /* of `block` */
    char name[UNTAR_NAME_BYTES_MAX + 1];
    uint8_t block[UNTAR_BLOCK_BYTES];
} now;

static bool bad(const char *words) {
    return fail(-EINVAL, words, now.name);
}

void untar_begin(int into) {
    memset(&now, 0, sizeof now);
    now.into = into;
    now.file = -1;
}

/* The number that stands in octal, or one that is too large for anything. */
static uint64_t number_at(const uint8_t *at, uint32_t digits) {
    uint64_t number = 0;
    for (uint32_t index = 0; index < digits; index++) {
        if (at[index] < '0' || at[index] > '7') {
            return ~0ull;
        }
        number = number << 3 | (uint64_t)(at[index] - '0');
    }
    return number;
}

static bool has_right_checksum(void) {
    uint64_t sum = 0;
    for (uint32_t index = 0; index < UNTAR_BLOCK_BYTES; index++) {
        bool own = index >= CHECKSUM_AT && index < CHECKSUM_AT + CHECKSUM_BYTES;
        sum += own ? ' ' : now.block[index];
    }
    return sum == number_at(now.block + CHECKSUM_AT, CHECKSUM_DIGITS);
}

static bool is_empty_block(void) {
    for (uint32_t index = 0; index < UNTAR_BLOCK_BYTES; index++) {
        if (now.block[index] != 0) {
            return false;
        }
    }
    return true;
}

/* Relative, each part a name; a directory's "/" at the end does not count. */
static bool take_name(void) {
    uint32_t length = 0, part = 0;
    while (length < UNTAR_NAME_BYTES_MAX && now.block[length] != 0) {
        now.name[length] = (char)now.block[length];
        length++;
    }
    if (length > 0 && now.name[length - 1] == '/') {
        length--;
    }
    now.name[length] = 0;
    for (uint32_t index = 0; index <= length; index++) {
        if (now.name[index] != '/' && now.name[index] != 0) {
            continue;
        }
        const char *at = now.name + part;
        uint32_t size = index - part;
        if (size == 0 || (at[0] == '.' && (size == 1 || (size == 2 && at[1] == '.')))) {
            return bad("a name in its archive leads elsewhere");
        }
        part = index + 1;
    }
    return true;
}

static bool open_file(uint64_t mode) {
    long opened = SYS4(openat, now.into, now.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       (mode & 0100) != 0 ? 0700 : 0600);
    if (opened < 0) {
        return fail(opened, NULL, now.name);
    }
    now.file = (int)opened;
    return true;
}

static void close_file(void) {
    close_quietly(now.file);
    now.file = -1;
}

static bool take_header(void) {
    if (is_empty_block()) {
        now.ended = true;
        return true;
    }
    now.name[0] = 0;
    if (memcmp(now.block + MAGIC_AT, "ustar\0", 6) != 0 || !has_right_checksum()) {
        return bad("its archive is no tar file");
    }
    if (!take_name()) {
        return false;
    }
    uint64_t size = number_at(now.block + SIZE_AT, SIZE_DIGITS), mode = number_at(now.block + MODE_AT, MODE_DIGITS);
    if (now.block[PREFIX_AT] != 0 || mode == ~0ull) {
        return bad("its archive is of another kind");
    }
    if (++now.entries > UNTAR_ENTRIES_MAX || size > UNTAR_BYTES_MAX) {
        return bad("its archive is larger than it may be");
    }
    if (now.block[TYPE_AT] == A_DIRECTORY && size == 0) {
        long made = SYS3(mkdirat, now.into, now.name, 0700);
        return made == 0 || fail(made, NULL, now.name);
    }
    if (now.block[TYPE_AT] != PLAIN_FILE) {
        return bad("its archive holds something else than files and directories");
    }
    now.left = size;
    now.padding = (UNTAR_BLOCK_BYTES - size % UNTAR_BLOCK_BYTES) % UNTAR_BLOCK_BYTES;
    if (!open_file(mode)) {
        return false;
    }
    if (size == 0) {
        close_file();
    }
    return true;
}

static bool write_whole(const uint8_t *bytes, size_t size) {
    while (size > 0) {
        long written = SYS3(write, now.file, bytes, size);
        if (written == -EINTR) {
            continue;
        }
        if (written <= 0) {
            return fail(written == 0 ? -EIO : written, NULL, now.name);
        }
        bytes += written;
        size -= (size_t)written;
    }
    return true;
}

static size_t smaller(size_t one, uint64_t other) {
    return other < one ? (size_t)other : one;
}

/* Take some of the bytes; how many.  0 is a failure. */
static size_t take_some(const uint8_t *bytes, size_t size) {
    size_t part;
    if (now.ended) {
        return size; /* a tar file is filled up with zeros */
    }
    if (now.left > 0) {
        part = smaller(size, now.left);
        now.left -= part;
        bool good = write_whole(bytes, part);
        if (now.left == 0 || !good) {
            close_file();
        }
        return good ? part : 0;
    }
    if (now.padding > 0) {
        part = smaller(size, now.padding);
        now.padding -= part;
        return part;
    }
    part = smaller(size, UNTAR_BLOCK_BYTES - now.used);
    memcpy(now.block + now.used, bytes, part);
    now.used += (uint32_t)part;
    if (now.used == UNTAR_BLOCK_BYTES) {
        now.used = 0;
        return take_header() ? part : 0;
    }
    return part;
}

bool untar_take(const uint8_t *bytes, size_t size) {
    while (size > 0) {
        size_t part = take_some(bytes, size);
        if (part == 0) {
            return false;
        }
        bytes += part;
        size -= part;
    }
    return true;
}

void untar_close(void) {
    close_file();
}

bool untar_is_whole(void) {
    return now.ended || bad("its archive ends too early");
}
