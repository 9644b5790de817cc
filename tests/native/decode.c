/* Parts of the bootstrap by themselves, for test_decoding.py: SHA-256 and inflate of what comes on standard input, in pieces. */
#include "failure.h"
#include "inflate.h"
#include "sha256.h"

#define INPUT_BYTES (4u << 20)
#define OUTPUT_BYTES (1u << 20) /* and a longer result is refused */

struct request {
    uint32_t size, piece;
    char what; /* 'i': inflate; 's': SHA-256; 'p': the same by the portable code */
    char unused[3];
};

/* `good`: what was asked can be done; for 's' also whether this processor has instructions for it. */
struct reply {
    uint32_t good, size;
};

static uint8_t input[INPUT_BYTES], output[OUTPUT_BYTES];
static uint32_t used, made;
static struct request request;

static bool transfer(long number, int file, void *at, size_t size) {
    for (uint8_t *next = at; size > 0;) {
        long done = sys(number, file, (long)next, (long)size, 0, 0, 0);
        if (done <= 0) {
            return false;
        }
        next += done;
        size -= (size_t)done;
    }
    return true;
}

static size_t next_piece(const uint8_t **bytes) {
    uint32_t left = request.size - used, part = left < request.piece ? left : request.piece;
    *bytes = input + used;
    used += part;
    return part;
}

static bool keep(const uint8_t *bytes, size_t size) {
    memcpy(output + made, bytes, size);
    made += (uint32_t)size;
    return true;
}

static bool hash(void) {
    struct sha256 sha;
    const uint8_t *bytes;
    sha256_begin(&sha);
    bool by_processor = sha.add != sha_by_anything;
    if (request.what == 'p') {
        sha.add = sha_by_anything;
    }
    for (size_t size; (size = next_piece(&bytes)) > 0;) {
        sha256_take(&sha, bytes, size);
    }
    sha256_end(&sha, output);
    made = SHA256_BYTES;
    return by_processor;
}

int main(void) {
    while (transfer(__NR_read, 0, &request, sizeof request)) {
        if (request.size > INPUT_BYTES || request.piece == 0 || !transfer(__NR_read, 0, input, request.size)) {
            return 1;
        }
        used = made = 0;
        failure.code = 0;
        bool good = request.what == 'i' ? inflate_gzip(next_piece, keep, OUTPUT_BYTES) : hash();
        if (request.what == 'i' && good == (failure.code != 0)) {
            return 2;
        }
        struct reply reply = {good, made};
        if (!transfer(__NR_write, 1, &reply, sizeof reply) || !transfer(__NR_write, 1, output, made)) {
            return 1;
        }
    }
    return 0;
}
